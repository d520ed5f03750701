"""Draining: the operator's signed order of who is drained, and the nodes' word that they are.

A node that drains warns its upstreams, withdraws, and lets go of its services; it stays so until
an order does not name it any more, whatever happens to it or to the registries meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from mesh.discovery.client import Unreachable
from mesh.publish.desk import Clock, Desk
from mesh.trust.documents import DrainOrder, Report

DRAIN_SECONDS = 20.0
"""How long a node that is about to go is waited for: three times what draining takes. A dead node
drains no more."""
POLL = 0.2
"""Seconds between two looks at the registries."""
TRIES = 5
"""Orders may cross: the registries take one of each number."""

Expected = Callable[[Report, DrainOrder], bool]


class Drainage:
    """Who is drained in one network, at its operator's desk."""

    def __init__(self, desk: Desk, operator_key: str, network: str) -> None:
        self._desk, self._key, self._network = desk, operator_key, network

    def order(self) -> DrainOrder | None:
        """The order that counts: the highest that any registry holds; None where there is none."""
        return self._desk.drain_order(self._network)

    def drained(self) -> frozenset[str]:
        """The nodes that are drained by it."""
        order = self.order()
        return frozenset() if order is None else frozenset(order.nodes)

    def change(self, drain: Iterable[str] = (), undrain: Iterable[str] = ()) -> DrainOrder | None:
        """Orders that these nodes are drained, and those are not; all others stay what they are.

        The order that counts then: no new one where it says so already. Raises
        :class:`mesh.discovery.client.Unreachable` where no registry takes it.
        """
        for _ in range(TRIES):
            held = self.order()
            before = frozenset() if held is None else frozenset(held.nodes)
            wanted = (before - frozenset(undrain)) | frozenset(drain)
            if wanted == before:
                return held
            number = 1 if held is None else held.number + 1
            order = DrainOrder(self._network, number, tuple(sorted(wanted)))
            if self._desk.put_drain_order(order, self._key):
                return order
        raise Unreachable("no registry takes the drain order: others are signed at the same time")

    def wait(
        self,
        nodes: Iterable[str],
        identities: Mapping[str, str],
        seconds: float,
        *,
        drain: bool = True,
        expected: Expected | None = None,
    ) -> list[str]:
        """Waits until these nodes have obeyed; those that have not said so in time.

        The order is given again where a registry that had lost its memory is brought a higher
        one that says otherwise. ``expected`` is what a report has to show. Raises
        :class:`mesh.discovery.client.Unreachable` where no registry takes the order all the
        while.
        """
        awaited, clock = sorted(nodes), Clock(seconds)
        holds = expected or (withdrawn if drain else back)
        while True:
            missing = awaited
            try:
                order = self.change(drain=awaited) if drain else self.change(undrain=awaited)
            except Unreachable:
                # A registry that restarts, or whose own node is the one that goes.
                if clock.over:
                    raise
                order = None
            if order is not None:
                reports = latest(self._desk.reports(identities))
                missing = [n for n in awaited if n not in reports or not holds(reports[n], order)]
            if not missing or clock.over:
                return missing
            time.sleep(POLL)


def withdrawn(report: Report, order: DrainOrder) -> bool:
    """Whether a node says that it has obeyed an order to drain."""
    health = report.health
    return health.drain >= order.number and health.drained and not health.in_service


def back(report: Report, order: DrainOrder) -> bool:
    """Whether a node says that it is not drained any more."""
    return report.health.drain >= order.number and not report.health.drained


def latest(reports: Iterable[Report]) -> dict[str, Report]:
    """The last word of each node: registries may hold different ones."""
    return {report.node: report for report in sorted(reports, key=lambda one: one.sequence)}
