"""Repair: undoes changes by others to what the generation in force configures.

    files ──► compared with the live state, by daemon ──► differences ──► repaired
              (mesh.agent.daemons)                              │
                                               how often? (mesh.agent.repairs)

What the generation does not configure is left alone: others' tables, units, addresses, routes. The
node is compared every few seconds, and sooner after a notification of the kernel; not while a
generation is applied or undone, and not on hold.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mesh.agent import log
from mesh.agent.apply import Applier, Content
from mesh.agent.daemons import ChangedNode, DaemonKind, Difference
from mesh.agent.host import CommandFailed
from mesh.agent.repairs import OFTEN, Repairs
from mesh.agent.system import System
from mesh.bird.client import BirdError
from mesh.foreign import printable
from mesh.trust.encoding import sha256

FIRST = 5.0
"""Seconds after the start until the first look: the first report comes before it."""
EVERY = 10.0
"""Seconds between two looks."""
SOON = 0.2
"""Seconds from a notification to a look: several changes often come together."""
APART = 1.0
"""Least seconds between two looks."""
LISTEN = 1.0
"""Seconds until a thread without notifications sees that it has to stop."""
COMPLAINTS = 600.0
"""Seconds between two warnings that something cannot be compared."""


@dataclass(frozen=True, slots=True)
class PlacedFile:
    """A file of the generation in force: the digest of its content, mode and group."""

    digest: str
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class InForce:
    """The generation in force: its number, units and files, and a function for their contents."""

    generation: int
    units: tuple[str, ...]
    files: Mapping[str, PlacedFile]
    contents: Callable[[], Mapping[str, Content]]

    @staticmethod
    def of(
        generation: int, units: tuple[str, ...], contents: Callable[[], Mapping[str, Content]]
    ) -> InForce:
        """Keeps digests only: contents may be a megabyte."""
        files = {
            path: PlacedFile(sha256(one.data), one.mode, one.gid)
            for path, one in contents().items()
        }
        return InForce(generation, units, files, contents)


class Repair:
    """Keeps one node as the generation in force configures it. ``in_force`` returns None while
    there is none; ``looking`` is called before each look."""

    def __init__(
        self,
        system: System,
        applier: Applier,
        repairs: Repairs,
        in_force: Callable[[], InForce | None],
        held: Callable[[], bool],
        looking: Callable[[], None],
    ) -> None:
        self._system = system
        self._host, self._manager, self._bird = system.host, system.units, system.bird
        self._applier, self._repairs = applier, repairs
        self._in_force, self._held, self._looking = in_force, held, looking
        self._generation: int | None = None
        self._was_held = False
        self._right: dict[str, tuple[int, ...]] = {}
        """Status of files that were as wanted: only changed ones are read again."""
        self._since: dict[str, float] = {}
        """Since when an object differs (monotonic seconds)."""
        self._complaints: dict[str, tuple[str, float]] = {}
        self._who = ""

    def run(self, stop: threading.Event) -> None:
        """Runs until ``stop`` is set."""
        due, pause = time.monotonic() + FIRST, APART
        last = due - EVERY
        with self._system.hints() as hints:
            while not stop.is_set():
                self._was_held |= self._held()
                if hints.wait(max(0.0, min(due - time.monotonic(), LISTEN))):
                    due = min(due, max(time.monotonic() + SOON, last + pause))
                now = time.monotonic()
                if self._was_held and not self._is_held():
                    due = now
                if now < due:
                    continue
                hinted = now - last < EVERY
                self._who = hints.firewall
                busy = self.look()
                hints.forget()
                last = time.monotonic()
                # Changes that are not about us may be frequent: look less and less often.
                pause = min(2 * pause, EVERY) if hinted and not busy else APART
                due = last + (APART if busy else EVERY)

    def look(self) -> bool:
        """One look; whether another has to follow soon: after or before a repair, or while a
        generation is being applied."""
        if self._is_held():
            return False
        self._looking()
        if not self._applier.changing.acquire(blocking=False):
            return True
        try:
            force = None if self._applier.unfinished else self._in_force()
            if force is None:
                return False
            if force.generation != self._generation:
                self._generation = force.generation
                self._right.clear()
                self._repairs.forgive()
            found = {one.what: self._mind(one) for one in self._differences(force)}
        finally:
            self._applier.changing.release()
        for what in self._since.keys() - found.keys():
            del self._since[what]
            self._repairs.right(what)
        return any(found.values())

    def _is_held(self) -> bool:
        held = self._held()
        if self._was_held and not held:
            self._repairs.forgive()
        self._was_held = held
        return held

    def _mind(self, one: Difference) -> bool:
        """Repairs one difference when it is due; False if it is left alone."""
        since = self._since.setdefault(one.what, time.monotonic())
        if time.monotonic() - since < one.patience:
            return True
        if not self._repairs.allows(one.what, one.why, always=one.vital):
            return False
        failure = ""
        try:
            one.mend()
        except (CommandFailed, BirdError, OSError) as error:
            failure = str(error)
        by = self._who if one.vital else ""
        again = self._repairs.record(one.what, one.why, by, failure) >= OFTEN
        self._since[one.what] = time.monotonic()
        # A repair that fails or does not last is not checked every second.
        return not failure and not again

    # --- what differs ------------------------------------------------------------------------

    def _differences(self, force: InForce) -> Iterator[Difference]:
        yield from self._files(force)
        running = self._manager.active(force.units)
        node = ChangedNode(self._host, self._manager, self._bird, force.units, running)
        for kind in sorted(self._system.kinds, key=lambda kind: not kind.first):
            # A file that was changed does not show the wanted state.
            paths = [path for path in force.files if path in self._right and kind.has(path)]
            yield from self._of(kind, node, paths)

    def _of(self, kind: DaemonKind, node: ChangedNode, paths: list[str]) -> Iterator[Difference]:
        try:
            yield from kind.differences(node, paths)
        except (CommandFailed, BirdError, OSError, ValueError, KeyError) as error:
            reason = printable(f"{type(error).__name__}: {error}")
            last, when = self._complaints.get(kind.name, ("", 0.0))
            if last != reason or time.monotonic() - when >= COMPLAINTS:
                self._complaints[kind.name] = (reason, time.monotonic())
                log.warning("not-compared", kind=kind.name, reason=reason)

    def _files(self, force: InForce) -> Iterator[Difference]:
        for path, wanted in force.files.items():
            seen = self._seen(path)
            if seen is not None and self._right.get(path) == seen:
                continue
            self._right.pop(path, None)
            try:
                content = self._host.read(path)
            except OSError as error:
                why = f"cannot be read: {error.strerror or error}"
                yield Difference(f"file {path}", why, self._putting(force, path))
                continue
            if content is None:
                yield Difference(f"file {path}", "is missing", self._putting(force, path))
            elif sha256(content) != wanted.digest:
                yield Difference(f"file {path}", "was changed", self._putting(force, path))
            elif seen is not None and seen[:2] != (wanted.mode, wanted.gid):
                yield Difference(
                    f"file {path}", "has another mode or group", self._putting(force, path)
                )
            elif seen is not None:
                self._right[path] = seen

    def _seen(self, path: str) -> tuple[int, ...] | None:
        """A file's status: mode, group, and what changes with its content."""
        try:
            status = os.lstat(self._host.path(path))
        except OSError:
            return None
        own = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        return status.st_mode & 0o7777, status.st_gid, *own

    def _putting(self, force: InForce, path: str) -> Callable[[], None]:
        def mend() -> None:
            one = force.contents()[path]
            self._host.write(path, one.data, one.mode, one.gid)
            seen = self._seen(path)
            if seen is not None:
                self._right[path] = seen
            kind = self._system.kind_of(path)
            if kind is not None:
                kind.reread(
                    ChangedNode(self._host, self._manager, self._bird, force.units, frozenset())
                )

        return mend
