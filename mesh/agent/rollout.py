"""Where this node is in a rollout: a generation with waves waits until an order releases the node.

    manifest with waves ──► waiting ──► released ──► draining, if so ordered ──► applying
                                                                                    │
                             the node announces again  ◄──  in force, or rolled back

The order is on the disk: an agent that starts in the middle goes on. The drain is the node's own:
it ends with the change, whatever becomes of that, and is not on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from mesh.agent import log
from mesh.agent.announce import Announcer
from mesh.agent.apply import NotApplied
from mesh.agent.state import HighestManifest, State
from mesh.trust.documents import RolloutOrder, Update
from mesh.trust.orders import ROLLOUT

SPARE = 10.0
"""Seconds that BIRD may take for the steps of a drain, beside their pauses."""


class Rollout:
    """One node's place in the rollout of the highest manifest. ``has_peer`` returns whether another
    node can be reached, and ``changed`` is called when the place changes."""

    def __init__(
        self,
        node: str,
        state: State,
        announcer: Announcer,
        has_peer: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._node, self._state, self._announcer = node, state, announcer
        self._has_peer, self._changed = has_peer, changed
        self._step: Update = ""
        self._deadline = 0.0
        """When the node has to have withdrawn (monotonic seconds)."""

    @property
    def obeyed(self) -> int:
        """The number of the rollout order that this node follows; 0 without one."""
        order = self._state.obeyed_order(ROLLOUT)
        return 0 if order is None else order.number

    @property
    def update(self) -> Update:
        """Where the node is, as it reports it."""
        known = self._state.highest
        waits = known is not None and self.waits(known)
        return self._step or ("waiting" if waits else "")

    def waits(self, known: HighestManifest) -> bool:
        """Whether a generation waits for this node's release. A node without a generation in force
        has nothing to lose, and waits for none; nor does one that has just started, announces
        nothing yet, and has missed a generation: what it has may be withdrawn elsewhere."""
        order = self._order(known)
        return order is not None and not (order.everyone or self._node in order.released)

    def is_due(self, known: HighestManifest) -> bool:
        """Whether this node is to apply a generation now, and has not."""
        return not self._state.has_applied(known) and not self.waits(known)

    def drains(self, known: HighestManifest) -> bool:
        """Whether this node is to drain before it applies a generation."""
        order = self._order(known)
        return order is not None and self._node in order.drained

    def has_left(self) -> bool:
        """Drains the node; whether it has withdrawn. A node that reaches no other does not drain:
        nobody would serve in its place. Raises :class:`NotApplied` where it does not withdraw."""
        if self._step != "draining":
            if not self._has_peer():
                log.info("not-drained", reason="no session with another node is up")
                return True
            self._deadline = time.monotonic() + self._announcer.drain_seconds + SPARE
            self._announcer.drain(True, "update")
            self._go("draining")
        if self._announcer.withdrawn:
            return True
        if time.monotonic() > self._deadline:
            raise NotApplied("the node was to drain first, and has not withdrawn in time")
        return False

    def apply(self) -> None:
        """The node applies from now on, until :meth:`end`."""
        self._go("applying")

    def end(self) -> None:
        """The generation is in force, rolled back, or not applied for now: the drain ends."""
        self._announcer.drain(False, "update")
        self._go("")

    def _go(self, step: Update) -> None:
        if step != self._step:
            self._step = step
            self._changed()

    def _order(self, known: HighestManifest) -> RolloutOrder | None:
        """What is ordered for a generation that needs a release here: nothing, without an order
        about it. None where it needs none."""
        manifest = known.manifest
        if not manifest.waves or manifest.retired or self._state.applied is None:
            return None
        if self._state.has_applied(known):
            return None
        if self._state.applied.generation < known.number - 1 and self._announcer.begins:
            return None
        nothing = RolloutOrder(manifest.network, 1, known.number, known.envelope.digest)
        return self._state.rollout_of(known) or nothing
