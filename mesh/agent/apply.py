"""Applying a part: everything or nothing.

Stage → validate with the daemons → journal → swap → apply → check → confirm. Whatever fails after
the journal is written, and a power cut or a killed agent as well, ends in the state from before:
the journal says what to put back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from mesh.agent import log, places
from mesh.agent.bird import Bird, BirdError
from mesh.agent.daemons import KINDS, Change, Kind, Node, kind_of
from mesh.agent.host import CommandFailed, Host
from mesh.agent.stage import Stage
from mesh.agent.units import Units
from mesh.trust.documents import Part
from mesh.trust.encoding import dump, parse

JOURNAL = f"{places.STATE}/journal.json"
_BACKUP = f"{places.STATE}/backup"
SETTLE_SECONDS = 15.0
"""How long sessions and registries may take to come back before all is rolled back."""


class NotApplied(Exception):
    """The part is not in force, and the node is as it was before. Says why."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file as it is to be."""

    data: bytes
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class Saved:
    """How a file was before: where its content is kept, or None where there was no file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    path: str
    backup: str | None
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class Journal:
    """What has to be undone, written before the first file is swapped."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    saved: tuple[Saved, ...]
    units_before: tuple[str, ...]
    units_after: tuple[str, ...]


class Applier:
    """Applies parts on one node. ``reachable`` says whether some registry can be asked."""

    def __init__(
        self,
        host: Host,
        manager: Units,
        bird: Bird,
        reachable: Callable[[], bool],
        settle: float = SETTLE_SECONDS,
    ) -> None:
        self._host, self._manager, self._bird = host, manager, bird
        self._reachable, self._settle = reachable, settle

    def apply(self, part: Part, secrets: Mapping[str, bytes], before: Part | None) -> list[str]:
        """Brings a part into force; the paths that changed. ``secrets`` are the unsealed contents
        by path, ``before`` is the part in force. :class:`NotApplied` where it cannot be."""
        try:
            return self._apply(part, secrets, before)
        except (CommandFailed, BirdError, OSError) as error:
            raise NotApplied(str(error)) from None

    def recover(self) -> bool:
        """Undoes what was cut short. True where there was something."""
        text = self._host.read(JOURNAL)
        Stage(self._host).clear()
        if text is None:
            return False
        with self._bird.changing:
            self._roll_back(parse(Journal, text))
        return True

    def _apply(self, part: Part, secrets: Mapping[str, bytes], before: Part | None) -> list[str]:
        wanted = self._wanted(part, secrets)
        old_units = () if before is None else before.units
        gone = set() if before is None else _paths(before) - set(wanted)
        changed = {p: c for p, c in wanted.items() if not self._is_in_place(p, c)}
        changes = [Change(path, self._host.read(path), changed[path].data) for path in changed]
        changes += [
            Change(path, old, None) for path in gone if (old := self._host.read(path)) is not None
        ]
        changes.sort(key=lambda change: change.path)
        self._validate(changes)
        running = self._manager.active(sorted({*part.units, *old_units}))
        if not changes and old_units == part.units and running >= set(part.units):
            return []
        with self._bird.changing:
            self._change(changes, changed, self._node(part.units, running), old_units)
        return [change.path for change in changes]

    # --- before ------------------------------------------------------------------------------

    def _wanted(self, part: Part, secrets: Mapping[str, bytes]) -> dict[str, Content]:
        wanted: dict[str, Content] = {}
        for file in part.files:
            wanted[file.path] = Content(
                file.content.encode(), file.mode, self._host.group(file.group)
            )
        for hidden in part.sealed:
            wanted[hidden.path] = Content(
                secrets[hidden.path], hidden.mode, self._host.group(hidden.group)
            )
        if len(wanted) != len(part.files) + len(part.sealed):
            raise CommandFailed("part: names a file twice")
        for path in wanted:
            if kind_of(path) is None:
                raise CommandFailed(f"{path}: no daemon of ours reads this; refused")
        return wanted

    def _is_in_place(self, path: str, content: Content) -> bool:
        if self._host.read(path) != content.data:
            return False
        status = self._host.path(path).lstat()
        return (status.st_mode & 0o7777, status.st_gid) == (content.mode, content.gid)

    def _validate(self, changes: Sequence[Change]) -> None:
        stage = Stage(self._host)
        try:
            stage.fill({change.path: change.new for change in changes})
            _each(KINDS, changes, lambda kind, own: kind.validate(stage, own))
        finally:
            stage.clear()

    def _established(self) -> frozenset[str]:
        try:
            sessions = self._bird.sessions()
        except BirdError:
            return frozenset()
        return frozenset(name for name, state in sessions.items() if state == "Established")

    # --- the change --------------------------------------------------------------------------

    def _save(
        self, changes: Sequence[Change], before: tuple[str, ...], after: tuple[str, ...]
    ) -> Journal:
        self._host.path(_BACKUP).mkdir(parents=True, exist_ok=True, mode=0o700)
        saved: list[Saved] = []
        for index, change in enumerate(changes):
            if change.old is None:
                saved.append(Saved(change.path, None, 0, 0))
                continue
            backup = f"{_BACKUP}/{index}"
            self._host.write(backup, change.old, 0o600, flush=False)
            status = self._host.path(change.path).lstat()
            saved.append(Saved(change.path, backup, status.st_mode & 0o7777, status.st_gid))
        # What the journal speaks of is on the disk before the journal is.
        self._host.flush(places.STATE)
        journal = Journal(tuple(saved), before, after)
        self._host.write(JOURNAL, dump(journal), 0o600)
        return journal

    def _change(
        self,
        changes: Sequence[Change],
        changed: Mapping[str, Content],
        node: Node,
        before: tuple[str, ...],
    ) -> None:
        sessions = self._established()
        journal = self._save(changes, before, node.units)
        try:
            # While their own files still say how to stop.
            self._manager.stop([unit for unit in before if unit not in node.units])
            self._swap(changes, changed)
            self._bring_up(changes, node, before)
            self._check(sessions, node.units)
            _each(KINDS, changes, lambda kind, _: kind.confirm(node))
        except (CommandFailed, BirdError, OSError) as error:
            log.warning("rolling-back", reason=error)
            self._roll_back(journal)
            raise CommandFailed(str(error)) from None
        # Until here a power cut ends in the journal's state; from here on in the new one.
        self._host.flush("/etc", places.STATE)
        self._forget()

    def _swap(self, changes: Sequence[Change], changed: Mapping[str, Content]) -> None:
        for change in changes:
            if change.new is None:
                self._host.remove(change.path)
            else:
                content = changed[change.path]
                self._host.write(change.path, content.data, content.mode, content.gid, flush=False)

    def _bring_up(self, changes: Sequence[Change], node: Node, before: tuple[str, ...]) -> None:
        _each(KINDS, changes, lambda kind, own: kind.apply(node, own))
        new = [unit for unit in node.units if unit not in node.running or unit not in before]
        self._manager.start(new)
        _each(KINDS, changes, lambda kind, own: kind.apply_late(node, own))

    def _check(self, sessions: frozenset[str], units: tuple[str, ...]) -> None:
        """The node does what it did before: units run, sessions are back, a registry answers."""
        down = sorted(set(units) - self._manager.active(units))
        if down:
            raise CommandFailed(f"{', '.join(down)}: not running")
        deadline = time.monotonic() + self._settle
        while True:
            reason = self._what_is_missing(sessions)
            if not reason:
                return
            if time.monotonic() >= deadline:
                raise CommandFailed(f"after {self._settle:g} s {reason}")
            time.sleep(0.1)

    def _what_is_missing(self, sessions: frozenset[str]) -> str:
        try:
            now = self._bird.sessions()
        except BirdError as error:
            return str(error)
        lost = sorted(name for name in sessions if name in now and now[name] != "Established")
        if lost:
            return f"sessions are down that were up before: {', '.join(lost)}"
        return "" if self._reachable() else "no registry can be reached any more"

    # --- back --------------------------------------------------------------------------------

    def _roll_back(self, journal: Journal) -> None:
        """Puts everything back, as far as it goes: one failure does not keep the rest from it."""
        before, after = journal.units_before, journal.units_after
        running = self._manager.active(sorted({*before, *after}))
        _try(lambda: self._manager.stop([u for u in after if u not in before and u in running]))
        changes = [self._put_back(saved) for saved in journal.saved]
        node = self._node(before, running)
        _each(KINDS, changes, lambda kind, own: _try(lambda: kind.apply(node, own)))
        _try(lambda: self._manager.start([unit for unit in before if unit not in running]))
        _each(KINDS, changes, lambda kind, own: _try(lambda: kind.apply_late(node, own)))
        _each(KINDS, changes, lambda kind, _: _try(lambda: kind.confirm(node)))
        self._forget()

    def _put_back(self, saved: Saved) -> Change:
        now = self._host.read(saved.path)
        target = self._host.path(saved.path)
        target.with_name(f".{target.name}.mesh-new").unlink(missing_ok=True)
        if saved.backup is None:
            self._host.remove(saved.path)
            return Change(saved.path, now, None)
        old = self._host.read(saved.backup)
        if old is None:
            # The journal is written after the backups, so this is a disk that loses files.
            log.warning("backup-lost", path=saved.path)
            return Change(saved.path, now, now)
        self._host.write(saved.path, old, saved.mode, saved.gid)
        return Change(saved.path, now, old)

    def _forget(self) -> None:
        self._host.remove(JOURNAL)
        shutil.rmtree(self._host.path(_BACKUP), ignore_errors=True)

    def _node(self, units: tuple[str, ...], running: frozenset[str]) -> Node:
        return Node(self._host, self._manager, self._bird, units, running)


def _each(
    kinds: Sequence[Kind],
    changes: Sequence[Change],
    step: Callable[[Kind, list[Change]], None],
) -> None:
    """Calls a step for each kind that has changes, in the table's order."""
    for kind in kinds:
        own = [change for change in changes if kind_of(change.path) is kind]
        if own:
            step(kind, own)


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except (CommandFailed, BirdError, OSError) as error:
        log.warning("roll-back-incomplete", reason=error)


def _paths(part: Part) -> set[str]:
    return {file.path for file in part.files} | {file.path for file in part.sealed}
