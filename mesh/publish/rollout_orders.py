"""Rollout orders: which nodes may apply a generation with waves now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mesh.publish.generation import SignedGeneration
from mesh.publish.order_log import OrderLog
from mesh.trust.documents import RolloutOrder
from mesh.trust.orders import ROLLOUT


@dataclass(frozen=True, slots=True)
class Release:
    """The nodes of all waves so far; those of ``drained`` drain themselves first. ``witnesses`` are
    the nodes that examine each node; with ``everyone`` nodes of no wave follow too."""

    nodes: Collection[str] = ()
    drained: Collection[str] = ()
    witnesses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    everyone: bool = False


class Rollouts(OrderLog[RolloutOrder]):
    """The rollout orders of one network at the registries."""

    kind = ROLLOUT
    _last: RolloutOrder | None = None

    def release(self, made: SignedGeneration, release: Release) -> RolloutOrder:
        """Signs the order that releases these nodes for a generation, and returns it. Raises
        :class:`mesh.registry.client.Unreachable` as :meth:`OrderLog.follow` does."""

        def following(_: RolloutOrder | None, number: int) -> RolloutOrder:
            return RolloutOrder(
                self.network,
                number,
                made.manifest.generation,
                made.digest,
                tuple(sorted(release.nodes)),
                tuple(sorted(release.drained)),
                release.everyone,
                {node: release.witnesses[node] for node in sorted(release.witnesses)},
            )

        order = self._next(following) or self.follow(following)
        assert order is not None  # ``following`` always has one
        self._last = order
        return order

    def _next(self, following: Callable[[None, int], RolloutOrder]) -> RolloutOrder | None:
        """The order after our own last one, without asking what registries hold; None where there
        is none, or a registry has another one by now."""
        if self._last is None:
            return None
        order = following(None, self._last.number + 1)
        return order if self._put(order) else None
