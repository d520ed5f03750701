"""Contents on this node's disk: unpacked beside each other, and one link to the one that is served.

/var/lib/anycast-mesh/content/<service>/<sha256>/   an unpacked artefact, never changed
/var/lib/anycast-mesh/content/<service>/current     a link to the one in force
/etc/anycast-mesh/content/<service>                 the one that the generation names
"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO

from mesh.agent.host import Host
from mesh.services.content import name_problem
from mesh.trust.documents import ContentEntry

FOLDER = "/var/lib/anycast-mesh/content"
POINTERS = "/etc/anycast-mesh/content"
CURRENT, BESIDE = "current", ".unpacking"
KEPT = 2
"""Contents of a service that stay: the one in force, and the one before it."""
PIECE = 256 << 10
_POINTER = re.compile(rb"([0-9a-f]{64})\n?")
_SERVICE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_FIRST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
_SPAN = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) - _FIRST


class BadArtefact(Exception):
    """An artefact contains what none may; nothing of it is in place."""


def pointed(content: bytes) -> str | None:
    """The SHA-256 in a pointer file; None if it is none."""
    match = _POINTER.fullmatch(content)
    return match[1].decode() if match else None


def service_of(path: str) -> str | None:
    """The service of a pointer file; None if it is none."""
    found = PurePosixPath(path)
    return found.name if str(found.parent) == POINTERS and _SERVICE.fullmatch(found.name) else None


@dataclass(frozen=True, slots=True)
class ContentStore:
    """The contents of one node."""

    host: Host

    def pointers(self) -> dict[str, str]:
        """The content that the generation in force names for each service of this node."""
        found: dict[str, str] = {}
        with suppress(OSError):
            for path in sorted(self.host.path(POINTERS).iterdir()):
                if _SERVICE.fullmatch(path.name) and (digest := pointed(path.read_bytes())):
                    found[path.name] = digest
        return found

    def current(self, service: str) -> str | None:
        """The content that a service serves; None before the first one."""
        try:
            name = (self._folder(service) / CURRENT).readlink().name
        except OSError:
            return None
        return name if self.has(service, name) else None

    def has(self, service: str, digest: str) -> bool:
        """Whether a content is here, unpacked."""
        return (self._folder(service) / digest).is_dir()

    def zones(self, service: str, digest: str) -> Iterator[tuple[str, str]]:
        """The zones at the top of a content: each with its file's path on the node."""
        for file in sorted((self._folder(service) / digest).glob("*.zone")):
            yield file.stem, f"{FOLDER}/{service}/{digest}/{file.name}"

    def unpack(self, archive: Path, service: str, digest: str, entry: ContentEntry) -> None:
        """Unpacks an artefact whose hash has been verified. Raises :class:`BadArtefact`, or OSError
        where the disk refuses; nothing stays of it then."""
        folder = self._made(service)
        beside = folder / BESIDE
        shutil.rmtree(beside, ignore_errors=True)
        try:
            _make(beside)
            with tarfile.open(archive, "r:") as packed:
                _unpack(packed, beside, entry)
            self.host.flush(FOLDER)
            beside.rename(folder / digest)
        except tarfile.TarError as error:
            raise BadArtefact(f"is no archive: {error}") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def swap(self, service: str, digest: str) -> None:
        """Serves a content that is here from now on. What is being read of the one before can be
        read to its end."""
        folder = self._folder(service)
        beside = folder / f".{CURRENT}"
        beside.unlink(missing_ok=True)
        beside.symlink_to(digest)
        # By the time of the last swap the two last ones are known (see prune).
        os.utime(folder / digest)
        beside.replace(folder / CURRENT)

    def prune(self) -> None:
        """Removes what is not served any more: all but the two last contents of each service, and
        services that this node does not have."""
        with suppress(OSError):
            pointers = self.pointers()
            for folder in self.host.path(FOLDER).iterdir():
                if not folder.is_dir():
                    if folder.name.removeprefix(".") not in pointers.values():
                        folder.unlink()
                elif folder.name not in pointers:
                    shutil.rmtree(folder)
                else:
                    self._prune(folder, pointers[folder.name])

    def _prune(self, folder: Path, wanted: str) -> None:
        found = [one for one in folder.iterdir() if one.is_dir() and not one.is_symlink()]
        kept = {wanted, self.current(folder.name)}
        found.sort(key=lambda one: (one.name in kept, one.stat().st_mtime), reverse=True)
        for old in found[max(KEPT, len(kept & {one.name for one in found})) :]:
            shutil.rmtree(old)

    def archive(self, digest: str) -> Path:
        """Where an artefact is kept while it is fetched."""
        return self._made("").joinpath(f".{digest}")

    def _folder(self, service: str) -> Path:
        return self.host.path(f"{FOLDER}/{service}")

    def _made(self, service: str) -> Path:
        for folder in (self.host.path(FOLDER), self._folder(service)):
            if not folder.is_dir():
                folder.parent.mkdir(parents=True, exist_ok=True)
                _make(folder)
        return self._folder(service)


def _make(folder: Path) -> None:
    """Makes a folder that the daemons can read, whatever the umask is."""
    folder.mkdir()
    folder.chmod(0o755)


def _unpack(packed: tarfile.TarFile, into: Path, entry: ContentEntry) -> None:
    """Regular files alone, under safe names, and no more of them than the manifest says."""
    made = {PurePosixPath()}
    files = size = 0
    while (member := packed.next()) is not None:
        # Else all headers so far stay in memory. (The attribute is in no type stub.)
        packed.members = []  # type: ignore[attr-defined]
        if member.type != tarfile.REGTYPE or member.sparse is not None:
            raise BadArtefact(f"{member.name!r} is no plain file")
        if problem := name_problem(member.name):
            raise BadArtefact(f"the name {member.name!r} {problem}")
        files, size = files + 1, size + member.size
        if files > entry.files or size > entry.size:
            raise BadArtefact("has more in it than the manifest says")
        for folder in reversed(PurePosixPath(member.name).parents):
            if folder not in made:
                made.add(folder)
                _make(into / folder)
        content = packed.extractfile(member)
        assert content is not None, "it is a regular file"
        _write(content, into / member.name)
    if files != entry.files:
        raise BadArtefact("has fewer files than the manifest says")


def _write(content: IO[bytes], path: Path) -> None:
    seen = sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o644), "wb") as file:
        while piece := content.read(PIECE):
            seen.update(piece)
            file.write(piece)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        # A time made of what is in it: the same on all nodes, and another one for other bytes.
        time = _FIRST + int.from_bytes(seen.digest()[:8], "big") % _SPAN
        os.utime(file.fileno(), (time, time))
