"""Fetches what this node's services serve, and brings it into service.

A generation waits a while for its contents. One that does not come in that time, or that cannot be
unpacked, holds nothing up: the service goes on with the content that it has, the report says so,
and the node keeps trying.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from mesh.agent import log
from mesh.agent.apply import Applier
from mesh.agent.content_store import FOLDER, BadArtefact, ContentStore, pointed, service_of
from mesh.agent.daemons import ChangedNode, dns
from mesh.agent.daemons.content import bring_into_service, check_zones
from mesh.agent.daemons.service_units import unit
from mesh.agent.host import CommandFailed, Host
from mesh.agent.state import HighestManifest, State
from mesh.agent.units import Units
from mesh.bird.client import Bird
from mesh.foreign import printable
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust.documents import MAX_ERROR, ContentEntry, Part
from mesh.trust.requests import Signer

PATIENCE = 60.0
"""Seconds that a generation waits for its contents."""
SOON, RARELY = 1.0, 30.0
"""Seconds between two tries to fetch a content, first and last."""
LOOK = 5.0
"""Seconds between two looks whether all contents are in service."""
BUSY = 0.5
"""Seconds to wait where a registry sends enough chunks already."""
TURN = 15.0
"""Seconds that a registry may take for a chunk; after that another one is asked."""
SPARE = 16 << 20
"""Bytes that stay free on the disk, beside what an artefact needs."""
BLOCK = 4096
"""Bytes that a file takes at least."""


class NotFetched(Exception):
    """A content is not here; with the reason."""


class Contents:
    """The contents of one node's services. ``urls`` returns the registries, ``held`` whether the
    node is on hold; ``changed`` is called when the report changes."""

    def __init__(
        self,
        host: Host,
        manager: Units,
        bird: Bird,
        signer: Signer,
        state: State,
        applier: Applier,
        urls: Callable[[], Sequence[str]],
        held: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._host, self._manager, self._bird, self._signer = host, manager, bird, signer
        self._state, self._applier = state, applier
        self._urls, self._held, self._changed = urls, held, changed
        self._store = ContentStore(host)
        self._fetching = threading.Lock()
        self._news = threading.Event()
        self._reasons: dict[str, str] = {}
        """Why a content is not here, by its hash, or not served, by its service."""
        self._refused: dict[str, str] = {}
        self._pause, self._next = SOON, 0.0

    # --- the report --------------------------------------------------------------------------

    def served(self) -> dict[str, str]:
        """The content that each service of this node serves."""
        found = ((service, self._store.current(service)) for service in self._store.pointers())
        return {service: digest for service, digest in found if digest is not None}

    def warnings(self) -> dict[str, str]:
        """Why a service does not serve the content of the generation in force."""
        served = self.served()
        return {
            service: self._warning(service, digest, served.get(service))
            for service, digest in self._store.pointers().items()
            if served.get(service) != digest
        }

    def _warning(self, service: str, digest: str, current: str | None) -> str:
        goes_on = "has no content yet" if current is None else f"serves content {current[:12]}"
        why = self._reasons.get(digest) or self._reasons.get(service) or "it is being fetched"
        return printable(f"{goes_on}, not {digest[:12]}: {why}")[:MAX_ERROR]

    # --- before a generation -----------------------------------------------------------------

    def prepare(self, known: HighestManifest, part: Part) -> None:
        """Fetches what a part's services need, for a while, unless there is a newer manifest."""
        until = time.monotonic() + PATIENCE

        def enough() -> bool:
            return time.monotonic() >= until or self._state.highest is not known

        wanted = {
            service: digest
            for file in part.files
            if (service := service_of(file.path)) and (digest := pointed(file.content.encode()))
        }
        for service in wanted:
            self._reasons.pop(service, None)
        self._fetch(wanted, known.manifest.contents, enough)

    def look(self) -> None:
        """Looks soon whether all contents are in service."""
        self._pause, self._next = SOON, 0.0
        self._refused.clear()
        self._news.set()

    # --- afterwards --------------------------------------------------------------------------

    def run(self, stop: threading.Event) -> None:
        """Fetches what is missing and brings it into service, until ``stop`` is set."""
        complete = True
        while not stop.is_set():
            again = LOOK if complete else max(SOON, self._next - time.monotonic())
            self._news.wait(min(again, LOOK))
            self._news.clear()
            if not self._held():
                complete = self._catch_up(stop)

    def _catch_up(self, stop: threading.Event) -> bool:
        """Whether all contents are here."""
        known, pointers = self._state.highest, self._store.pointers()
        missing = {s: d for s, d in pointers.items() if not self._store.has(s, d)}
        if missing and known is not None and time.monotonic() >= self._next:
            self._fetch(
                missing,
                known.manifest.contents,
                lambda: stop.is_set() or self._state.highest is not known,
            )
            self._next = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, RARELY)
        if any(self._waits(service, digest) for service, digest in pointers.items()):
            self._bring_into_service()
        if not missing:
            self._prune()
        return not missing

    def _prune(self) -> None:
        """Only where the newest generation is in force for good: what it replaces may be needed
        again before, and what it needs is fetched before it names it here."""
        with self._fetching, self._applier.changing:
            known = self._state.highest
            settled = self._applier.unconfirmed is None and not self._applier.unfinished
            if known is not None and settled and self._state.has_applied(known):
                self._store.prune()

    def _waits(self, service: str, digest: str) -> bool:
        """Whether a content that is here is to be served and is not. One that was refused is not
        tried again."""
        served = self._store.current(service) == digest
        refused = self._refused.get(service) == digest
        return not served and not refused and self._store.has(service, digest)

    def _bring_into_service(self) -> None:
        """The contents that have come after their generation."""
        with self._applier.changing:
            if self._applier.unfinished:
                return
            for service, digest in self._store.pointers().items():
                if not self._waits(service, digest):
                    continue
                try:
                    self._bring(service, digest)
                except (CommandFailed, OSError) as error:
                    self._refused[service] = digest
                    self._note(service, str(error))
                else:
                    self._reasons.pop(service, None)
                    log.info("content", service=service, sha256=digest)
                    self._changed()

    def _bring(self, service: str, digest: str) -> None:
        configuration = f"{dns.FOLDER}/{service}.conf"
        check_zones(self._host, service, digest, self._host.path(configuration))
        reader = unit(configuration)
        node = ChangedNode(
            self._host, self._manager, self._bird, (reader,), self._manager.active([reader])
        )
        bring_into_service(node, service, digest)

    # --- fetching ----------------------------------------------------------------------------

    def _fetch(
        self,
        wanted: Mapping[str, str],
        entries: Mapping[str, ContentEntry],
        enough: Callable[[], bool],
    ) -> None:
        """Fetches and unpacks what is missing, as far as it goes."""
        with self._fetching:
            for service, digest in wanted.items():
                if self._store.has(service, digest):
                    continue
                try:
                    self._get(service, digest, entries.get(digest), enough)
                except (NotFetched, BadArtefact) as error:
                    self._note(digest, str(error))
                except OSError as error:
                    self._store.archive(digest).unlink(missing_ok=True)
                    where = error.filename or FOLDER
                    self._note(digest, f"{where} cannot be written: {error.strerror or error}")
                else:
                    self._reasons.pop(digest, None)
            for digest in set(wanted.values()):
                if all(self._store.has(s, d) for s, d in wanted.items() if d == digest):
                    self._store.archive(digest).unlink(missing_ok=True)

    def _note(self, what: str, reason: str) -> None:
        if self._reasons.get(what) != reason:
            self._reasons[what] = reason
            log.warning("content", what=what, reason=reason)
            self._changed()

    def _get(
        self, service: str, digest: str, entry: ContentEntry | None, enough: Callable[[], bool]
    ) -> None:
        if entry is None:
            raise NotFetched("the newest manifest does not name it")
        archive = self._store.archive(digest)
        self._mind_space(archive, entry)
        self._download(archive, digest, entry, enough)
        self._store.unpack(archive, service, digest, entry)

    def _mind_space(self, archive: Path, entry: ContentEntry) -> None:
        """Before anything is written."""
        disk = os.statvfs(archive.parent)
        there = archive.stat().st_size if archive.exists() else 0
        needed = 2 * entry.size - there + BLOCK * entry.files + SPARE
        free = disk.f_bfree * disk.f_frsize
        if free < needed:
            raise NotFetched(
                f"{FOLDER} is on a disk with {free >> 20} MiB free, and it needs {needed >> 20}"
            )
        if disk.f_files and disk.f_ffree < 2 * entry.files:
            raise NotFetched(f"{FOLDER} is on a disk that takes {disk.f_ffree} more files")

    def _download(
        self, archive: Path, digest: str, entry: ContentEntry, enough: Callable[[], bool]
    ) -> None:
        """The artefact with this hash, from any registry. What has come of it is kept for the next
        try, unless it is wrong."""
        reasons: list[str] = []
        urls = self._urls()
        for url in urls:
            # What another registry began may be the wrong part.
            for whole in (False, True):
                if whole:
                    archive.unlink(missing_ok=True)
                begun = archive.exists() and archive.stat().st_size > 0
                try:
                    with Client(url, self._signer, timeout=10.0) as client:
                        _complete(client, archive, digest, entry, enough, len(urls) > 1)
                except (Unreachable, NotFetched) as error:
                    reasons.append(str(error))
                    break
                if _digest(archive) == digest:
                    return
                archive.unlink(missing_ok=True)
                if not begun:
                    reasons.append(f"{url}: gives other bytes than the manifest names; refused")
                    break
        raise NotFetched("; ".join(reasons) or "no registry")


def _complete(
    client: Client,
    archive: Path,
    digest: str,
    entry: ContentEntry,
    enough: Callable[[], bool],
    others: bool,
) -> None:
    """Appends the chunks that are missing, never more than the manifest says. A registry that is
    busy, or slow where there are others, does not keep the node from them."""
    with archive.open("ab") as file:
        file.truncate(min(file.tell(), entry.size) // paths.CHUNK * paths.CHUNK)
        last, slow = time.monotonic(), False
        while (held := file.seek(0, os.SEEK_END)) < entry.size:
            if slow and others:
                raise NotFetched(f"{client.url}: took more than {TURN:g} s for a chunk")
            if enough():
                raise NotFetched(f"{held >> 20} of {entry.size >> 20} MiB have come so far")
            target = f"{paths.CONTENT}/{digest}/{held // paths.CHUNK}"
            answer = client.ask("GET", target, signed=True, limit=paths.CHUNK)
            slow = time.monotonic() - last > TURN
            if answer.status == 429 and not slow:
                time.sleep(BUSY)
                continue
            if not answer.ok:
                raise NotFetched(f"{client.url}: {answer.why()}")
            if len(answer.body) != min(paths.CHUNK, entry.size - held):
                raise NotFetched(f"{client.url}: gives a chunk of another size; refused")
            file.write(answer.body)
            file.flush()
            last = time.monotonic()


def _digest(archive: Path) -> str:
    with archive.open("rb") as file:
        seen = sha256()
        while piece := file.read(1 << 18):
            seen.update(piece)
    return seen.hexdigest()
