"""The node image comes from the mirror of this machine, however its sources are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from setup.failure import SetupFailure
from setup.image.mirror import Source, deb822, debian_mirror, host_codename, one_line, sources

ONE_LINE = [
    ("deb http://m.example/debian bookworm main", [("http://m.example/debian", "bookworm")]),
    ("deb [arch=amd64 signed-by=/k.gpg] https://m.example/d trixie main contrib # why",
     [("https://m.example/d", "trixie")]),
    ("deb\thttp://m.example/debian\tbookworm\tmain", [("http://m.example/debian", "bookworm")]),
    ("deb-src http://m.example/debian bookworm main", []),
    ("# deb http://m.example/debian bookworm main", []),
    ("debian http://m.example/debian bookworm main", []),
    ("", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), ONE_LINE)
def test_the_one_line_format_is_read(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(source.uri, source.suite) for source in one_line(text)] == expected


STANZA = """\
Types: deb deb-src
# http://snapshot.example/debian
URIs: http://m.example/debian
  http://second.example/debian
Suites: trixie trixie-updates
Components: main
 non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def test_every_pair_of_a_deb822_stanza_is_read_continued_lines_and_comments_included() -> None:
    found = list(deb822(STANZA))
    assert [(source.uri, source.suite) for source in found] == [
        ("http://m.example/debian", "trixie"),
        ("http://m.example/debian", "trixie-updates"),
        ("http://second.example/debian", "trixie"),
        ("http://second.example/debian", "trixie-updates"),
    ]
    assert {source.components for source in found} == {("main", "non-free-firmware")}


@pytest.mark.parametrize("line", ["Enabled: no", "Enabled: false", "enabled: OFF"])
def test_a_stanza_that_is_switched_off_does_not_count(line: str) -> None:
    assert list(deb822(STANZA + line + "\n")) == []


def test_stanzas_of_sources_only_do_not_count() -> None:
    assert list(deb822(STANZA.replace("deb deb-src", "deb-src"))) == []


def test_files_that_apt_does_not_read_are_not_read(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "a.list").write_text("deb http://a.example/d bookworm main\n")
    (parts / "b.sources").write_text(STANZA)
    (parts / "c.list.disabled").write_text("deb http://c.example/d bookworm main\n")
    found = [source.uri for source in sources(tmp_path)]
    assert found[0] == "http://a.example/d"
    assert "http://m.example/debian" in found
    assert "http://c.example/d" not in found


ARCHIVES = [
    Source("http://security.example/debian-security", "bookworm-security", ("main",)),
    Source("https://vendor.example/apt", "bookworm", ("stable",)),
    Source("cdrom:[Debian]", "bookworm", ("main",)),
    Source("http://m.example/debian/", "bookworm", ("main", "contrib")),
]


def test_the_mirror_is_debians_own_archive_not_another_vendors() -> None:
    assert debian_mirror(ARCHIVES, "bookworm") == "http://m.example/debian"


def test_a_source_that_says_stable_is_a_mirror_too() -> None:
    assert debian_mirror([Source("http://m.example/d", "stable", ("main",))], "trixie")


def test_without_a_mirror_the_cure_is_named() -> None:
    with pytest.raises(SetupFailure, match=r"sources\.list.*no mirror.*bookworm.*add Debian"):
        debian_mirror(ARCHIVES[:3], "bookworm")


@pytest.mark.parametrize("line", ["VERSION_CODENAME=trixie", 'VERSION_CODENAME="trixie"'])
def test_the_release_of_this_machine_is_read(tmp_path: Path, line: str) -> None:
    (tmp_path / "os-release").write_text(f"ID=debian\n{line}\n")
    assert host_codename(tmp_path / "os-release") == "trixie"
