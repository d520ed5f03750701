"""Where this node is in a rollout: a generation with waves waits until an order releases the node.

    manifest with waves ──► waiting ──► released ──► applying ──► in force, or rolled back

The order is on the disk: an agent that starts in the middle goes on.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.agent.state import HighestManifest, State
from mesh.trust.documents import RolloutOrder, Update
from mesh.trust.orders import ROLLOUT


class Rollout:
    """One node's place in the rollout of the highest manifest. ``changed`` is called when it
    changes."""

    def __init__(self, node: str, state: State, changed: Callable[[], None]) -> None:
        self._node, self._state, self._changed = node, state, changed
        self._step: Update = ""

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
        has nothing to lose, and waits for none."""
        applied = self._state.applied
        if not known.manifest.waves or known.manifest.retired or applied is None:
            return False
        return applied.manifest_sha256 != known.envelope.digest and not self._is_released(known)

    def apply(self) -> None:
        """The node applies from now on, until :meth:`end`."""
        self._go("applying")

    def end(self) -> None:
        """The generation is in force, rolled back, or not applied for now."""
        self._go("")

    def _go(self, step: Update) -> None:
        if step != self._step:
            self._step = step
            self._changed()

    def _is_released(self, known: HighestManifest) -> bool:
        order = self._order(known)
        return order is not None and (order.everyone or self._node in order.released)

    def _order(self, known: HighestManifest) -> RolloutOrder | None:
        """The order in force, if it is about this generation."""
        order = self._state.obeyed_order(ROLLOUT)
        if order is None or order.manifest_sha256 != known.envelope.digest:
            return None
        return order if order.generation == known.number else None
