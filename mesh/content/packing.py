"""A directory as an artefact: the same files give the same bytes on every machine.

The archive has regular files alone, sorted by name, of owner 0, mode 644 and time 0. Nothing larger
than a piece is held in memory.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tarfile import BLOCKSIZE, PAX_FORMAT, TarInfo

from mesh.limits import MAX_CONTENT_BYTES, MAX_CONTENT_FILES
from mesh.services.content import is_hidden, name_problem

PIECE = 256 << 10
"""Bytes that are read at once."""
END = 2 * BLOCKSIZE
"""Bytes of zeros at an archive's end."""


class NotPacked(Exception):
    """A directory cannot be packed: the path in question, the reason and the cure."""

    def __init__(self, path: str, reason: str, cure: str) -> None:
        super().__init__(f"{path}: {reason}; {cure}")
        self.path, self.reason, self.cure = path, reason, cure


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a directory: its name in the archive, and its status when it was listed."""

    name: str
    size: int
    changed: int

    @property
    def header(self) -> bytes:
        """What precedes its bytes in the archive."""
        info = TarInfo(self.name)
        info.size = self.size
        return info.tobuf(PAX_FORMAT, "utf-8", "strict")

    @property
    def padding(self) -> bytes:
        """What follows them."""
        return bytes(-self.size % BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class Artefact:
    """A directory that can be packed: its files by name, the bytes of its archive, and the names
    that are left out."""

    folder: Path
    entries: tuple[Entry, ...]
    size: int
    left_out: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The SHA-256 of the archive, which reads all files once in a process."""
        key = (self.folder, self.entries)
        if key not in _DIGESTS:
            digest = sha256()
            for piece in self.pieces():
                digest.update(piece)
            _DIGESTS[key] = digest.hexdigest()
        return _DIGESTS[key]

    def pieces(self) -> Iterator[bytes]:
        """The archive's bytes. Raises :class:`NotPacked` where a file has changed since."""
        for entry in self.entries:
            yield entry.header
            yield from self._content(entry)
            yield entry.padding
        yield bytes(END)

    def _content(self, entry: Entry) -> Iterator[bytes]:
        try:
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            with os.fdopen(os.open(self.folder / entry.name, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise self._changed(entry)
                left = entry.size
                while left:
                    piece = file.read(min(PIECE, left))
                    if not piece:
                        raise self._changed(entry)
                    left -= len(piece)
                    yield piece
                if file.read(1):
                    raise self._changed(entry)
        except OSError as error:
            raise _unreadable(str(self.folder / entry.name), error) from None

    def _changed(self, entry: Entry) -> NotPacked:
        path = str(self.folder / entry.name)
        return NotPacked(path, "it changed while it was read", "run this again once it is written")


_DIGESTS: dict[tuple[Path, tuple[Entry, ...]], str] = {}


def chunks(artefact: Artefact, size: int) -> Iterator[bytes]:
    """The archive's bytes in chunks of this size; the last one is smaller."""
    buffer = bytearray()
    for piece in artefact.pieces():
        buffer += piece
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


def artefact(folder: Path) -> Artefact:
    """What a directory contains, by names and sizes; its files are not read. Raises
    :class:`NotPacked`."""
    left_out: list[str] = []
    entries: list[Entry] = []
    total = END
    for entry in _files(folder, "", left_out):
        entries.append(entry)
        total += BLOCKSIZE + entry.size
        if total > MAX_CONTENT_BYTES:
            raise _too_large(folder)
        if len(entries) > MAX_CONTENT_FILES:
            raise NotPacked(
                str(folder), f"it has more than {MAX_CONTENT_FILES:,} files",
                "keep the files that are served, or serve them by a daemon of your own "
                "(kind external)",
            )  # fmt: skip
    if not entries:
        raise NotPacked(str(folder), "there is no file in it", "put there what is to be served")
    entries.sort(key=lambda one: one.name.encode())
    size = sum(len(one.header) + one.size + len(one.padding) for one in entries) + END
    if size > MAX_CONTENT_BYTES:
        raise _too_large(folder)
    return Artefact(folder, tuple(entries), size, tuple(sorted(left_out)))


def _too_large(folder: Path) -> NotPacked:
    return NotPacked(
        str(folder), f"it has more than {MAX_CONTENT_BYTES >> 20} MiB",
        "keep what is served, or serve large files by a daemon of your own (kind external)",
    )  # fmt: skip


def _files(folder: Path, above: str, left_out: list[str]) -> Iterator[Entry]:
    """The files of a directory and of those in it. A link, a device and a name that another machine
    would refuse raise :class:`NotPacked`."""
    try:
        with os.scandir(folder / above) as found:
            inside = list(found)
    except OSError as error:
        raise _unreadable(str(folder / above), error) from None
    folded: dict[str, str] = {}
    for one in inside:
        name = f"{above}{one.name}"
        if is_hidden(one.name):
            left_out.append(name)
            continue
        if problem := name_problem(name):
            raise NotPacked(_printed(folder / name), f"its name {problem}", "rename it")
        alike = folded.setdefault(_folded(one.name), one.name)
        if alike != one.name:
            raise NotPacked(
                str(folder / name), f"only its case differs from {alike}'s, and not every machine "
                "keeps both", "rename one of them",
            )  # fmt: skip
        try:
            status = one.stat(follow_symlinks=False)
        except OSError as error:
            raise _unreadable(str(folder / name), error) from None
        if stat.S_ISDIR(status.st_mode):
            yield from _files(folder, f"{name}/", left_out)
        elif stat.S_ISREG(status.st_mode):
            yield Entry(name, status.st_size, status.st_mtime_ns)
        elif stat.S_ISLNK(status.st_mode):
            raise NotPacked(
                str(folder / name), f"it is a link to {_target(one.path)}, and links do not travel",
                "put the file itself there",
            )  # fmt: skip
        else:
            raise NotPacked(str(folder / name), "it is neither file nor folder", "remove it")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _target(path: str) -> str:
    try:
        return _printed(Path(path).readlink())
    except OSError:
        return "something"


def _printed(path: Path) -> str:
    """A path whose bytes may be no text."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _unreadable(path: str, error: OSError) -> NotPacked:
    return NotPacked(path, error.strerror or str(error), "give a directory that can be read")
