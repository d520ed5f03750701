"""Other BIRDs than the node image's run over it, each of the version that set-up found."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.render import File
from setup import found, versions
from setup.birds import build
from setup.failure import SetupFailure
from setup.progress import Progress, Step
from tests.kit.machine import BIRDS, NEWEST, OLDEST, Debian, layer

CONFIG = File("/etc/bird/bird.conf", "router id 192.0.2.1;\nprotocol device {}\n")


def recorded(name: str) -> str:
    """The version of a layer's first package, without Debian's revision."""
    (made,) = [each for each in versions.load().layers if each.name == name]
    record = found.read(layer(name).parent / build.RECORD)
    return found.upstream(record[name].packages[made.packages[0]])


@pytest.mark.image
def test_the_birds_are_those_that_set_up_recorded() -> None:
    assert recorded("bookworm-bird2") == OLDEST
    assert recorded("trixie-bird3") == NEWEST


@pytest.mark.image
@pytest.mark.parametrize("version", BIRDS)
def test_bird_and_its_client_are_of_that_version(tmp_path: Path, version: str) -> None:
    machine = Debian(tmp_path, bird=version)
    machine.put([CONFIG])
    assert machine.run("bird", "--version").stderr.strip() == f"BIRD version {version}"
    script = "mkdir -p /run/bird; bird -c /etc/bird/bird.conf && birdc show status && birdc down"
    done = machine.run("sh", "-c", script)
    assert f"BIRD {version} ready." in done.stdout, done.stderr
    assert "Daemon is up and running" in done.stdout


@pytest.mark.image
@pytest.mark.parametrize("version", BIRDS)
def test_stayrtr_goes_over_any_of_them(tmp_path: Path, version: str) -> None:
    machine = Debian(tmp_path, bird=version, also=["stayrtr"])
    done = machine.run("sh", "-c", "stayrtr -version; bird --version")
    assert recorded("stayrtr") in done.stdout + done.stderr
    assert f"BIRD version {version}" in done.stderr


def test_a_layer_that_is_missing_is_named_with_the_cure() -> None:
    with pytest.raises(FileNotFoundError, match=r"birds/sid-bird9 is not there; `setup/all birds`"):
        layer("sid-bird9")


def test_the_layers_are_made_anew_when_the_table_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before, table = build.key(), versions.load()
    monkeypatch.setattr(versions, "load", lambda: replace(table, layers=table.layers[1:]))
    assert build.key() != before


def test_an_archive_without_debians_signature_is_refused(tmp_path: Path) -> None:
    index = tmp_path / "archive/dists/sid/main/binary-all/Packages"
    index.parent.mkdir(parents=True)
    index.write_text("")
    (tmp_path / "archive/dists/sid/Release").write_text("Suite: sid\nComponents: main\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    step = Step("birds", Progress(io.StringIO()), tmp_path / "log")
    uri, lock = f"file:{tmp_path / 'archive'}", os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(SetupFailure, match="sid Release' is not signed"):
        build.Apt(scratch, uri, "sid", step, lock).update()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package as before the merge of /usr: a library in /lib."""
    tree = tmp_path / "tree"
    for path, text in {
        "DEBIAN/control": "Package: bird9\nVersion: 9.1-2+deb99u1\nArchitecture: all\n"
        "Maintainer: nobody\nDescription: none\n",
        "lib/x/libbird.so": "",
        "usr/lib/x/other.so": "",
        "usr/sbin/bird": "",
        "usr/share/man/man8/bird.8": "",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tmp_path / "debs").mkdir()
    subprocess.run(
        ["dpkg-deb", "--build", tree, tmp_path / "debs" / "bird9_9.1-2_all.deb"],
        check=True,
        capture_output=True,
    )
    return tmp_path / "debs" / "bird9_9.1-2_all.deb"


def test_a_layer_never_hides_the_images_links_into_usr(tmp_path: Path, package: Path) -> None:
    build.unpack([package], tmp_path / "layer")
    files = {str(p.relative_to(tmp_path / "layer")) for p in (tmp_path / "layer").rglob("*.so")}
    assert files == {"usr/lib/x/libbird.so", "usr/lib/x/other.so"}
    assert [path.name for path in (tmp_path / "layer").iterdir()] == ["usr"]
    assert not (tmp_path / "layer/usr/share/man/man8").exists()


@pytest.mark.parametrize(
    ("version", "plain"),
    [("2.0.12-7", "2.0.12"), ("3.1.7-0+deb13u1", "3.1.7"), ("1:3.1.7~rc1-1", "3.1.7~rc1")],
)
def test_the_projects_own_part_of_a_debian_version(version: str, plain: str) -> None:
    assert found.upstream(version) == plain


@pytest.mark.parametrize(
    ("version", "series", "belongs"),
    [
        ("3.1.8-0+deb13u1", "3.1", True),
        ("3.2.0-1", "3.1", False),
        ("3.10.1-1", "3.1", False),
        ("2.17~rc1-1", "2.17", True),
        ("1:2.0.12-7", "2.0", True),
    ],
)
def test_the_series_of_a_debian_version(version: str, series: str, belongs: bool) -> None:
    assert found.of_series(version, series) is belongs
