"""Rollout orders: which nodes may apply a generation with waves now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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

        order = self.follow(following)
        assert order is not None  # ``following`` always has one
        return order
