"""Repair: what somebody has changed on this node by hand, and the generation in force names, is put
right again.

    files ──► each daemon's own look at what is there now ──► differences ──► put right
              (mesh.agent.daemons)                              │
                                               how often? (mesh.agent.repairs)

What the generation does not name is nobody's business: others' tables, units, addresses, routes. A
hint of the kernel starts a look at once, and a look now and then is the truth. Nothing is looked at
while a generation is applied or undone, and nothing is put right while the node is held.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from mesh.agent import log
from mesh.agent.apply import Applier, Content
from mesh.agent.daemons import KINDS, Difference, Kind, Node, kind_of
from mesh.agent.host import CommandFailed, Host
from mesh.agent.kernel_events import KernelEvents
from mesh.agent.repairs import OFTEN, Repairs
from mesh.agent.units import Units
from mesh.bird.client import Bird, BirdError
from mesh.foreign import printable
from mesh.trust.encoding import sha256

FIRST = 5.0
"""Seconds after the start until the first look: what is to be reported comes first."""
EVERY = 10.0
"""Seconds between two looks. With the patience for a daemon it is fifteen at most."""
SOON = 0.2
"""Seconds from a hint to a look: one change is seldom alone."""
APART = 1.0
"""Seconds between two looks at least."""
LISTEN = 1.0
"""Seconds until a thread without hints sees that it is to stop."""
COMPLAINTS = 600.0
"""Seconds until it is said again that something cannot be looked at."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A file of the generation in force, by the digest of its content."""

    digest: str
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class InForce:
    """What is in force: its number, its units, its files, and how to have their contents."""

    generation: int
    units: tuple[str, ...]
    files: Mapping[str, Placed]
    contents: Callable[[], Mapping[str, Content]]

    @staticmethod
    def of(
        generation: int, units: tuple[str, ...], contents: Callable[[], Mapping[str, Content]]
    ) -> InForce:
        """Contents are made when they are needed: they may be a megabyte."""
        files = {
            path: Placed(sha256(one.data), one.mode, one.gid) for path, one in contents().items()
        }
        return InForce(generation, units, files, contents)


class Repair:
    """Keeps one node as the generation in force says. ``in_force`` is None while there is none;
    ``looking`` is called with each look, for who looks after something else."""

    def __init__(
        self,
        host: Host,
        manager: Units,
        bird: Bird,
        applier: Applier,
        repairs: Repairs,
        in_force: Callable[[], InForce | None],
        held: Callable[[], bool],
        looking: Callable[[], None],
    ) -> None:
        self._host, self._manager, self._bird = host, manager, bird
        self._applier, self._repairs = applier, repairs
        self._in_force, self._held, self._looking = in_force, held, looking
        self._generation: int | None = None
        self._was_held = False
        self._right: dict[str, tuple[int, ...]] = {}
        """Files that were right, as the file system shows them: only what has changed is read."""
        self._since: dict[str, float] = {}
        """Since when something is not as it is to be."""
        self._complaints: dict[str, tuple[str, float]] = {}
        self._who = ""

    def run(self, stop: threading.Event) -> None:
        """Looks until told to stop."""
        due, pause = time.monotonic() + FIRST, APART
        last = due - EVERY
        with KernelEvents() as hints:
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
                # Others may change what is not ours all the time: that is looked at ever less.
                pause = min(2 * pause, EVERY) if hinted and not busy else APART
                due = last + (APART if busy else EVERY)

    def look(self) -> bool:
        """One look; whether another is to follow soon: something was put right, or is about to be,
        or a generation is being applied."""
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
        """Puts one difference right, where it is its time; False where it is left alone."""
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
        # What fails, or does not stay, is not worth a look each second.
        return not failure and not again

    # --- what differs ------------------------------------------------------------------------

    def _differences(self, force: InForce) -> Iterator[Difference]:
        yield from self._files(force)
        running = self._manager.active(force.units)
        node = Node(self._host, self._manager, self._bird, force.units, running)
        for kind in sorted(KINDS, key=lambda kind: kind.name != "nftables"):
            # Of a file that is not as it is to be nobody can tell what it should do.
            paths = [path for path in force.files if path in self._right]
            yield from self._of(kind, node, [path for path in paths if kind_of(path) is kind])

    def _of(self, kind: Kind, node: Node, paths: list[str]) -> Iterator[Difference]:
        try:
            yield from kind.differences(node, paths)
        except (CommandFailed, BirdError, OSError, ValueError, KeyError) as error:
            reason = printable(f"{type(error).__name__}: {error}")
            told, when = self._complaints.get(kind.name, ("", 0.0))
            if told != reason or time.monotonic() - when >= COMPLAINTS:
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
        """A file as the file system shows it: mode, group, and what changes with its content."""
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
            kind = kind_of(path)
            if kind is not None:
                kind.reread(Node(self._host, self._manager, self._bird, force.units, frozenset()))

        return mend
