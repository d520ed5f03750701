"""A directory as an artefact: the same bytes everywhere, and clear words where it cannot travel."""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
import tracemalloc
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.content import NotPacked, artefact, chunks
from mesh.limits import MAX_CONTENT_BYTES
from mesh.services.content import name_problem


def bytes_of(folder: Path) -> bytes:
    return b"".join(artefact(folder).pieces())


def site(folder: Path) -> Path:
    (folder / "css").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>Hello</h1>")
    (folder / "css" / "blog.css").write_text("h1 {color: teal}")
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(NotPacked) as found:
        artefact(folder)
    return str(found.value)


def test_the_same_files_give_the_same_bytes_on_every_machine(tmp_path: Path) -> None:
    here, there = site(tmp_path / "here"), tmp_path / "there"
    (there / "css").mkdir(parents=True)
    (there / "css" / "blog.css").write_text("h1 {color: teal}")
    (there / "index.html").write_text("<h1>Hello</h1>")
    (there / "index.html").chmod(0o700)
    os.utime(there / "index.html", (1, 1))
    assert bytes_of(here) == bytes_of(there)
    assert artefact(here).sha256 == sha256(bytes_of(there)).hexdigest()


def test_its_name_does_not_depend_on_the_version_of_this_code(tmp_path: Path) -> None:
    """Another hash for the same files would be a change of content for every service."""
    assert artefact(site(tmp_path / "site")).sha256 == (
        "f9ad6abb96c7486c5ec307127586dfac0dd41dfce4b810184a436fe4ab5c31c4"
    )


def test_any_tar_reads_it(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    (folder / ("long-" * 40)).write_text("a long name")
    (folder / "größe.html").write_text("not ASCII")
    packed = bytes_of(folder)
    assert len(packed) == artefact(folder).size
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        members = archive.getmembers()
        assert [one.name for one in members] == sorted(
            ["css/blog.css", "index.html", "long-" * 40, "größe.html"], key=str.encode
        )
        assert {(one.mode, one.uid, one.gid, one.mtime, one.type) for one in members} == {
            (0o644, 0, 0, 0, tarfile.REGTYPE)
        }
        found = archive.extractfile("css/blog.css")
        assert found is not None and found.read() == b"h1 {color: teal}"


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
).filter(lambda name: not name_problem(name))


@given(files=st.dictionaries(names, st.binary(max_size=3000), min_size=1, max_size=8))
def test_all_that_a_directory_has_is_in_its_archive(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept: dict[str, bytes] = {}
        for each, content in files.items():
            if each.casefold() in {one.casefold() for one in kept}:
                continue
            (folder / each).write_bytes(content)
            kept[each] = content
        try:
            packed = bytes_of(folder)
        except NotPacked as error:
            assert "only its case differs" in error.reason
            return
        with tarfile.open(fileobj=BytesIO(packed)) as archive:
            read = {m.name: (archive.extractfile(m) or BytesIO()).read() for m in archive}
        assert read == kept


def test_chunks_are_its_bytes(tmp_path: Path) -> None:
    found = artefact(site(tmp_path / "site"))
    cut = list(chunks(found, 1000))
    assert b"".join(cut) == bytes_of(tmp_path / "site")
    assert {len(one) for one in cut[:-1]} == {1000}


def test_names_with_a_dot_stay_out_except_well_known(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("[core]")
    (folder / "css" / ".DS_Store").write_text("")
    (folder / ".well-known").mkdir()
    (folder / ".well-known" / "security.txt").write_text("Contact: mailto:ops@example.net")
    found = artefact(folder)
    assert [one.name for one in found.entries] == [
        ".well-known/security.txt", "css/blog.css", "index.html",
    ]  # fmt: skip
    assert found.left_out == (".git", "css/.DS_Store")


def test_a_link_is_refused_by_its_name_and_its_target(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    (folder / "passwd").symlink_to("/etc/passwd")
    assert refused(folder) == (
        f"{folder}/passwd: it is a link to /etc/passwd, and links do not travel; put the file "
        "itself there"
    )
    (folder / "passwd").unlink()
    (folder / "style").symlink_to("css", target_is_directory=True)
    assert "it is a link to css" in refused(folder)


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    os.mkfifo(folder / "pipe")
    assert f"{folder}/pipe: it is neither file nor folder" in refused(folder)


def test_two_gigabytes_are_refused_unread(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    with (folder / "film.mp4").open("wb") as file:
        file.truncate(2 << 30)
    tracemalloc.start()
    assert "it has more than 64 MiB" in refused(folder)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_the_headers_of_many_files_count_as_well(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    with (folder / "exactly").open("wb") as file:
        file.truncate(MAX_CONTENT_BYTES - 512 - 1024)
    assert artefact(folder).size == MAX_CONTENT_BYTES
    (folder / "one-more").write_text("")
    assert "it has more than 64 MiB" in refused(folder)


def test_more_files_than_a_content_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty of them here: to make twenty thousand takes seconds."""
    monkeypatch.setattr(sys.modules["mesh.content.packing"], "MAX_CONTENT_FILES", 20)
    for number in range(20):
        (tmp_path / str(number)).write_text("")
    assert len(artefact(tmp_path).entries) == 20
    (tmp_path / "one-more").write_text("")
    assert "it has more than 20 files" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (b"a\nb", "contains a control character"),
        (b"caf\xe9", "is not UTF-8"),
    ],
)
def test_names_that_another_machine_would_not_have(
    tmp_path: Path, name: bytes, reason: str
) -> None:
    folder = site(tmp_path / "site")
    with open(os.path.join(os.fsencode(folder), name), "wb"):  # noqa: PTH118, PTH123
        pass
    said = refused(folder)
    assert f"its name {reason}; rename it" in said
    said.encode()


def test_names_that_only_differ_in_case(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    (folder / "Index.html").write_text("")
    assert "only its case differs from" in refused(folder)


def test_an_empty_directory(tmp_path: Path) -> None:
    assert "there is no file in it" in refused(tmp_path)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    folder = site(tmp_path / "site")
    found = artefact(folder)
    (folder / "index.html").write_text("<h1>Hello again</h1>")
    with pytest.raises(NotPacked, match="changed while it was read"):
        list(found.pieces())
    (folder / "index.html").unlink()
    (folder / "index.html").symlink_to("/etc/passwd")
    with pytest.raises(NotPacked):
        list(found.pieces())
