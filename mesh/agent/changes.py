"""Changes of the node's configuration: applied, undone if interrupted, or waiting for a log-in."""

from __future__ import annotations

from collections.abc import Callable

from mesh.agent import disk, log
from mesh.agent.apply import Applier, NotWritten
from mesh.agent.confirmation import Unconfirmed, Undone
from mesh.agent.host import CommandFailed
from mesh.agent.parts import Parts
from mesh.agent.repair import InForce
from mesh.agent.state import Applied, HighestManifest, State
from mesh.foreign import printable
from mesh.trust.documents import Part
from mesh.trust.encoding import Malformed


class Changes:
    """Makes and undoes changes. ``recovered`` is called after an interrupted change was undone,
    ``changed`` when the report changes."""

    def __init__(
        self,
        applier: Applier,
        parts: Parts,
        state: State,
        recovered: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._applier, self._parts, self._state = applier, parts, state
        self._recovered, self._changed = recovered, changed
        self._waits = applier.unconfirmed is not None
        """Whether a change waits for a log-in."""
        self._placed: tuple[Applied, InForce | None] | None = None
        self.unfinished: dict[str, str] = {}
        """Why no change can be made, by the name of the fault; empty if changes can be made."""

    @property
    def waiting(self) -> Unconfirmed | None:
        """The change that waits for a log-in; None for none."""
        return self._applier.unconfirmed if self._waits else None

    def in_force(self) -> InForce | None:
        """The generation in force; None if there is none, or if this version cannot read it."""
        applied = self._state.applied
        if applied is None or (self._waits and self._applier.unconfirmed is None):
            # The timer has kept or undone the change; its result is not read yet.
            return None
        if self._placed is None or self._placed[0] is not applied:
            self._placed = (applied, self._parts.in_force(applied, self._applier))
        return self._placed[1]

    def recover(self) -> None:
        """Undoes an interrupted change. If that fails, it is tried again before the next change;
        all else goes on."""
        try:
            found = self._applier.recover()
        except Exception as error:
            why = printable(f"a change that was cut short is not undone yet: {error}")
            self.unfinished = {disk.fault(error): why}
            log.warning("not-recovered", reason=error)
            return
        self.unfinished = {}
        self._state.read_applied()
        if found:
            log.warning("recovered", reason="an earlier change was cut short and has been undone")
            self._recovered()

    def ready(self) -> None:
        """Undoes a change that could not be undone before. Raises :class:`NotWritten` if it still
        cannot."""
        if self.unfinished:
            self.recover()
        if self.unfinished:
            raise NotWritten("; ".join(self.unfinished.values()))

    def cut_short(self, error: NotWritten | OSError) -> None:
        """A change has failed because of the disk: the next one begins with undoing it."""
        at_fault = "disk" if isinstance(error, NotWritten) else disk.fault(error)
        self.unfinished = self.unfinished or {at_fault: str(error)}

    def check(self, known: HighestManifest, text: str, part: Part) -> None:
        """Raises :class:`mesh.agent.apply.NotApplied` if this node would refuse a part before it
        changes anything, and NotForUs for secrets of another node."""
        secrets = self._parts.secrets(part, Applied.of(known, part.node, text))
        self._applier.prepare(part)
        self._applier.check(part, secrets, self._before())

    def apply(self, known: HighestManifest, text: str, part: Part) -> list[str] | None:
        """Brings a part into force; the paths that changed, or None if it waits for a log-in.
        Raises :class:`mesh.agent.apply.NotApplied`, and NotForUs for secrets of another node."""
        applied = Applied.of(known, part.node, text)
        secrets, before = self._parts.secrets(part, applied), self._before()
        self._applier.prepare(part)
        # No repair of the generation before, until this one is stored as applied.
        with self._applier.changing:
            changed = self._applier.apply(part, secrets, before, applied)
            waiting = self._applier.unconfirmed
            if waiting is None:
                self._state.confirm(applied)
        if waiting is None:
            return changed
        log.warning("unconfirmed", generation=known.number, lost="; ".join(waiting.lost))
        self._waits = True
        return None

    def wait(self) -> Unconfirmed | None:
        """The change that waits for a log-in, as the disk has it; None for none. From now on,
        :meth:`settle` ends it."""
        waiting = self._applier.unconfirmed
        self._waits = self._waits or waiting is not None
        return waiting

    @property
    def undone(self) -> Undone | None:
        """The generation that was undone last because nobody had logged in."""
        return self._applier.undone

    def settle(self) -> bool:
        """Confirms or rolls back a change that waits for a log-in, or reads what the timer did;
        whether that ended the wait. Raises :class:`NotWritten` if it has to be tried again."""
        if not self._waits:
            return False
        try:
            # No repair until the generation in force is read again.
            with self._applier.changing:
                self._waits = self._applier.settle()
                if not self._waits:
                    self._state.read_applied()
        except (CommandFailed, OSError, ValueError) as error:
            # Tried again, as every undo that the disk prevents.
            log.warning("unconfirmed", reason=error)
            self.unfinished = {disk.fault(error): printable(str(error))}
            self._changed()
            raise NotWritten(str(error)) from None
        if self._waits:
            return False
        self.unfinished = {}
        return True

    def _before(self) -> Part | None:
        """The part in force; None if an earlier version wrote it and this one cannot read it: files
        that only it had are not removed then."""
        if self._state.applied is None:
            return None
        try:
            return self._state.applied.parsed()
        except Malformed as error:
            log.warning("part-in-force", reason=error)
            return None
