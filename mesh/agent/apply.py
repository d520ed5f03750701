"""Applies a part: everything or nothing.

Stage → validate with the daemons → journal → swap → apply → check → confirm. A failure after the
journal is written, a power cut or a killed agent end in the state before: the journal contains what
to restore. A change that narrows who may log in keeps its journal until somebody has logged in
(:mod:`mesh.agent.confirmation`).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pydantic import ConfigDict

from mesh.agent import disk, file_paths, log
from mesh.agent.confirmation import Confirmation, Unconfirmed, Undone
from mesh.agent.daemons import ChangedNode, DaemonKind, FileChange
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage
from mesh.agent.state import Applied
from mesh.agent.system import System
from mesh.bird.client import BirdError
from mesh.trust.documents import Part
from mesh.trust.encoding import Malformed, dump, parse

JOURNAL = f"{file_paths.STATE}/journal.json"
_BACKUP = f"{file_paths.STATE}/backup"
SETTLE_SECONDS = 15.0
"""How long sessions and registries may take to come back before the change is rolled back."""


class NotApplied(Exception):
    """The part is not in force, and the node is as it was before; with the reason."""


class NotWritten(NotApplied):
    """The disk refused a write. The part is tried again later."""


@dataclass(frozen=True, slots=True)
class Content:
    """The wanted content, mode and group of a file."""

    data: bytes
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A file before the change: the path of its backup, or None if there was no file."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    path: str
    backup: str | None
    mode: int
    gid: int


@dataclass(frozen=True, slots=True)
class Journal:
    """What to restore; written before the first file is swapped."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    saved: tuple[Saved, ...]
    units_before: tuple[str, ...]
    units_after: tuple[str, ...]


class Applier:
    """Applies parts on one node. ``reachable`` returns whether some registry answers."""

    def __init__(
        self, system: System, reachable: Callable[[], bool], settle: float = SETTLE_SECONDS
    ) -> None:
        self._system = system
        self._host, self._units, self._bird = system.host, system.units, system.bird
        self._reachable, self._settle = reachable, settle
        self._confirmation = Confirmation(
            system.host, system.access, system.logins, system.undo_timer
        )
        self.changing = threading.RLock()
        """Held while the configuration of the node is changed."""
        self.rollbacks = 0
        """Changes undone since the start."""

    @property
    def unconfirmed(self) -> Unconfirmed | None:
        """The change in force that is undone unless somebody logs in; None if there is none."""
        return self._confirmation.waiting

    @property
    def undone(self) -> Undone | None:
        """The generation that was undone last because nobody had logged in."""
        return self._confirmation.undone

    def prepare(self, part: Part) -> None:
        """Installs the packages that a part's units need; nothing runs of them yet. Raises
        :class:`NotApplied`."""
        try:
            self._system.install(part.units)
        except CommandFailed as error:
            raise NotApplied(str(error)) from None

    def apply(
        self,
        part: Part,
        secrets: Mapping[str, bytes],
        before: Part | None,
        applied: Applied,
    ) -> list[str]:
        """Brings a part into force; the paths that changed. ``secrets`` are the unsealed contents
        by path, ``before`` is the part in force, and ``applied`` is what to store. If
        :attr:`unconfirmed` is set afterwards, the part is in force for a limited time.

        Raises :class:`NotApplied`, or :class:`NotWritten` if the disk is the reason;
        :meth:`recover` undoes what was begun."""
        with _reasons(), self.changing, self._confirmation.alone():
            waiting = self.unconfirmed
            if waiting is not None:
                self._undo(waiting, f"generation {applied.generation} has come since")
            changed = self._apply(part, secrets, before, applied)
            if self.unconfirmed is None:
                self._confirmation.forget()
            return changed

    def check(self, part: Part, secrets: Mapping[str, bytes], before: Part | None) -> None:
        """Raises as :meth:`apply` does where that would fail before the first file is swapped."""
        with _reasons(), self.changing, self._confirmation.alone():
            _, changes = self._changes(self._wanted(part, secrets), before)
            self._validate(changes, before)
            self._check_disk()

    def recover(self) -> bool:
        """Undoes an interrupted change; whether there was one. A change that waits for a log-in
        continues to wait, unless its time is over or the machine was rebooted."""
        with self._confirmation.alone():
            Stage(self._host).clear()
            waiting = self.unconfirmed
            if waiting is None:
                return self._put_all_back()
            if self._is_settled():
                return False
            if self._confirmation.left(waiting) > 0:
                return False
            if waiting.until:
                self._undo(waiting, self._confirmation.why(waiting))
            else:
                # Interrupted while it was made, as any other change: it may be tried again.
                self._confirmation.end()
                self._put_all_back()
            return True

    def settle(self) -> bool:
        """Whether a change still waits for a log-in. Somebody has logged in: it is kept, and
        written as the applied one. Its time is over: it is undone."""
        with self._confirmation.alone():
            waiting = self.unconfirmed
            if waiting is None or self._is_settled():
                return False
            login = self._confirmation.confirmed_by(waiting)
            if login is not None:
                log.info("confirmed", generation=waiting.generation, source=login.source)
                # Without its journal the change is permanent.
                self._forget()
                self._is_settled()
                return False
            if self._confirmation.left(waiting) > 0:
                return True
            reason = self._confirmation.why(waiting)
            log.warning("rolling-back", generation=waiting.generation, reason=reason)
            self._undo(waiting, reason)
            return False

    def _is_settled(self) -> bool:
        """Whether the waiting change was kept or undone already; completes that if it was
        interrupted."""
        if self._host.read(JOURNAL) is not None:
            return False
        waiting, undone = self.unconfirmed, self.undone
        if waiting is not None and (undone is None or undone.manifest != waiting.manifest):
            self._confirmation.keep()
        self._confirmation.end()
        return True

    def put_files_back(self) -> None:
        """Restores the files at boot, before the daemons read them. :meth:`recover` does the
        rest."""
        text = self._host.read(JOURNAL)
        waiting = self.unconfirmed
        if text is None or waiting is None:
            return
        reason = self._confirmation.why(waiting)
        log.warning("files-put-back", generation=waiting.generation, reason=reason)
        journal = parse(Journal, text)
        for saved in journal.saved:
            self._put_back(saved)
        before, after = set(journal.units_before), set(journal.units_after)
        _try(lambda: self._units.mark(sorted(before - after), sorted(after - before)))
        if any(self._units.reads(saved.path) for saved in journal.saved):
            _try(self._units.reload)

    def _undo(self, waiting: Unconfirmed, reason: str) -> None:
        """Restores the state before, also after an interruption."""
        self._confirmation.remember(waiting, reason)
        self._put_all_back()
        self._confirmation.end()

    def _put_all_back(self) -> bool:
        text = self._host.read(JOURNAL)
        if text is None:
            return False
        try:
            journal = parse(Journal, text)
        except Malformed as error:
            # Of another version, or damaged. The next generation is applied as a whole.
            log.warning("journal-lost", reason=error)
            self._forget()
            return False
        with self._bird.changing:
            self._roll_back(journal)
        return True

    @property
    def unfinished(self) -> bool:
        """Whether an interrupted change is not undone yet."""
        return self._host.path(JOURNAL).exists()

    def contents(self, part: Part, secrets: Mapping[str, bytes]) -> Mapping[str, Content]:
        """A part's files by path, with ``secrets`` as in :meth:`apply`. Raises
        :class:`mesh.agent.host.CommandFailed` for a file that no part may have."""
        return self._wanted(part, secrets)

    def _apply(
        self,
        part: Part,
        secrets: Mapping[str, bytes],
        before: Part | None,
        applied: Applied,
    ) -> list[str]:
        wanted = self._wanted(part, secrets)
        old_units = () if before is None else before.units
        changed, changes = self._changes(wanted, before)
        lost = self._validate(changes, before)
        running = self._units.active(sorted({*part.units, *old_units}))
        if not changes and old_units == part.units and running >= set(part.units):
            return []
        # First: a change that fails later stops and starts units.
        self._check_disk()
        begin = partial(self._confirmation.begin, applied, lost) if lost else None
        self._change(changes, changed, self._node(part.units, running), old_units, begin)
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
            if self._system.kind_of(path) is None:
                raise CommandFailed(f"{path}: no daemon of ours reads this; refused")
        return wanted

    def _changes(
        self, wanted: Mapping[str, Content], before: Part | None
    ) -> tuple[dict[str, Content], list[FileChange]]:
        """The files to write, by path, and all changes, those that are removed included."""
        gone = set() if before is None else _paths(before) - set(wanted)
        changed = {p: c for p, c in wanted.items() if not self._is_in_place(p, c)}
        changes = [FileChange(path, self._host.read(path), changed[path].data) for path in changed]
        changes += [
            FileChange(path, old, None)
            for path in gone
            if (old := self._host.read(path)) is not None
        ]
        return changed, sorted(changes, key=lambda change: change.path)

    def _check_disk(self) -> None:
        """Raises :class:`NotWritten` if nothing can be written."""
        for folder in ("/etc", file_paths.STATE):
            if why := disk.problem(self._host, folder):
                raise NotWritten(why)

    def _is_in_place(self, path: str, content: Content) -> bool:
        if self._host.read(path) != content.data:
            return False
        status = self._host.path(path).lstat()
        return (status.st_mode & 0o7777, status.st_gid) == (content.mode, content.gid)

    def _validate(self, changes: Sequence[FileChange], before: Part | None) -> tuple[str, ...]:
        """The access that the changes take away. Raises CommandFailed if a daemon refuses one."""
        stage = Stage(self._host)
        try:
            stage.fill({change.path: change.new for change in changes})
            self._each(changes, lambda kind, own: kind.validate(stage, own))
            # Before the first generation nobody relies on the provider's configuration, and without
            # sshd nobody logs in.
            access = self._system.access
            if before is None or not self._units.active([access.unit]):
                return ()
            return access.narrowed(stage, changes)
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
        self, changes: Sequence[FileChange], before: tuple[str, ...], after: tuple[str, ...]
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
        # Backups are on the disk before the journal that refers to them.
        self._host.flush(file_paths.STATE)
        journal = Journal(tuple(saved), before, after)
        self._host.write(JOURNAL, dump(journal), 0o600)
        return journal

    def _change(
        self,
        changes: Sequence[FileChange],
        changed: Mapping[str, Content],
        node: ChangedNode,
        before: tuple[str, ...],
        begin: Callable[[], None] | None,
    ) -> None:
        sessions = self._established()
        journal = self._save(changes, before, node.units)
        self._bird.on_trial = True
        try:
            if begin is not None:
                begin()
            with self._bird.changing:
                # Before their unit files are removed.
                self._units.stop([unit for unit in before if unit not in node.units])
                self._swap(changes, changed)
                self._bring_up(changes, node, before)
            # An order, or a service that fails, does not wait for sessions.
            self._check(sessions, node.units)
            with self._bird.changing:
                self._each(changes, lambda kind, _: kind.confirm(node))
            if begin is not None:
                self._host.flush("/etc", file_paths.STATE)
                self._confirmation.wait()
                return
        except (CommandFailed, BirdError, OSError) as error:
            log.warning("rolling-back", reason=error)
            if begin is not None:
                # First, so that an interruption here is undone as that of any other change.
                _try(self._confirmation.end)
            with self._bird.changing:
                self._roll_back(journal)
            raise
        finally:
            self._bird.on_trial = False
        # A power cut before this restores the journal; after it, the change stays.
        self._host.flush("/etc", file_paths.STATE)
        self._forget()

    def _swap(self, changes: Sequence[FileChange], changed: Mapping[str, Content]) -> None:
        for change in changes:
            if change.new is None:
                self._host.remove(change.path)
            else:
                content = changed[change.path]
                self._host.write(change.path, content.data, content.mode, content.gid, flush=False)

    def _bring_up(
        self, changes: Sequence[FileChange], node: ChangedNode, before: tuple[str, ...]
    ) -> None:
        self._each(changes, lambda kind, own: kind.apply(node, own))
        new = [unit for unit in node.units if unit not in node.running or unit not in before]
        self._units.start(new)
        self._each(changes, lambda kind, own: kind.apply_late(node, own))

    def _check(self, sessions: frozenset[str], units: tuple[str, ...]) -> None:
        """Raises CommandFailed unless units run, sessions are back and a registry answers."""
        down = sorted(set(units) - self._units.active(units))
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
        """Restores everything; one failure does not prevent the rest. If a file could not be
        restored, the journal stays and OSError is raised."""
        self.rollbacks += 1
        before, after = journal.units_before, journal.units_after
        running = self._units.active(sorted({*before, *after}))
        new = [unit for unit in after if unit not in before]
        # A service manager may go on starting a unit that does not run.
        left = [unit for unit in new if unit in running or self._units.has_file(unit)]
        _try(lambda: self._units.stop(left))
        changes, failed = self._restore(journal)
        node = self._node(before, running)
        self._each(changes, lambda kind, own: _try(lambda: kind.apply(node, own)))
        _try(lambda: self._units.start([unit for unit in before if unit not in running]))
        self._each(changes, lambda kind, own: _try(lambda: kind.apply_late(node, own)))
        self._each(changes, lambda kind, _: _try(lambda: kind.confirm(node)))
        if failed is not None:
            raise failed
        self._forget()

    def _restore(self, journal: Journal) -> tuple[list[FileChange], OSError | None]:
        changes: list[FileChange] = []
        failed: OSError | None = None
        for saved in journal.saved:
            try:
                changes.append(self._put_back(saved))
            except OSError as error:
                log.warning("not-put-back", path=saved.path, reason=error)
                failed = failed or error
        return changes, failed

    def _put_back(self, saved: Saved) -> FileChange:
        now = self._host.read(saved.path)
        target = self._host.path(saved.path)
        target.with_name(f".{target.name}.mesh-new").unlink(missing_ok=True)
        if saved.backup is None:
            self._host.remove(saved.path)
            return FileChange(saved.path, now, None)
        old = self._host.read(saved.backup)
        if old is None:
            # The journal is written after the backups, so the disk has lost a file.
            log.warning("backup-lost", path=saved.path)
            return FileChange(saved.path, now, now)
        self._host.write(saved.path, old, saved.mode, saved.gid)
        return FileChange(saved.path, now, old)

    def _forget(self) -> None:
        self._host.remove(JOURNAL)
        shutil.rmtree(self._host.path(_BACKUP), ignore_errors=True)

    def _each(
        self, changes: Sequence[FileChange], step: Callable[[DaemonKind, list[FileChange]], None]
    ) -> None:
        """Calls ``step`` for each kind that has changes, in the table's order."""
        for kind in self._system.kinds:
            own = [change for change in changes if kind.has(change.path)]
            if own:
                step(kind, own)

    def _node(self, units: tuple[str, ...], running: frozenset[str]) -> ChangedNode:
        return ChangedNode(self._host, self._units, self._bird, units, running)


@contextmanager
def _reasons() -> Iterator[None]:
    """Raises :class:`NotApplied`, or :class:`NotWritten` if the disk is the reason."""
    try:
        yield
    except (CommandFailed, BirdError) as error:
        raise NotApplied(str(error)) from None
    except OSError as error:
        raise (NotWritten if disk.refuses(error) else NotApplied)(str(error)) from None


def _try(step: Callable[[], None]) -> None:
    try:
        step()
    except (CommandFailed, BirdError, OSError) as error:
        log.warning("roll-back-incomplete", reason=error)


def _paths(part: Part) -> set[str]:
    return {file.path for file in part.files} | {file.path for file in part.sealed}
