"""Draining: the operator's signed order of who is drained, and the nodes' word that they are.

A node that drains warns its upstreams, withdraws, and lets go of its services; it stays so until
an order does not name it any more, whatever happens to it or to the registries meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from mesh.publish.order_log import POLL, OrderLog
from mesh.publish.registry_pool import Clock
from mesh.registry.client import Unreachable
from mesh.trust.documents import DrainOrder, Refusal, Report
from mesh.trust.orders import DRAIN

DRAIN_SECONDS = 20.0
"""How long a node that is about to go is waited for: three times what draining takes. A dead node
drains no more."""

Expected = Callable[[Report, DrainOrder], bool]


class Drains(OrderLog[DrainOrder]):
    """Who is drained in one network, at the registries."""

    kind = DRAIN

    def drained(self) -> frozenset[str]:
        """The nodes that are drained by it."""
        order = self.order()
        return frozenset() if order is None else frozenset(order.nodes)

    def change(self, drain: Iterable[str] = (), undrain: Iterable[str] = ()) -> DrainOrder | None:
        """Orders that these nodes are drained, and those are not; all others stay what they are.

        The order that counts then: no new one where it says so already. Raises
        :class:`mesh.registry.client.Unreachable` as :meth:`Standing.follow` does.
        """
        leaving, coming = frozenset(drain), frozenset(undrain)

        def following(held: DrainOrder | None, number: int) -> DrainOrder | None:
            before = frozenset() if held is None else frozenset(held.nodes)
            wanted = (before - coming) | leaving
            if wanted == before:
                return None
            return DrainOrder(self.network, number, tuple(sorted(wanted)))

        return self.follow(following)

    def wait(
        self,
        nodes: Iterable[str],
        seconds: float,
        *,
        drain: bool = True,
        expected: Expected | None = None,
        heard: Callable[[str], None] = lambda _: None,
        refuses: Callable[[str, Refusal], None] = lambda *_: None,
    ) -> list[str]:
        """Waits until these nodes have obeyed; those that have not said so in time.

        The order is given again where a registry that had lost its memory is brought a higher
        one that says otherwise. ``expected`` is what a report has to show; ``heard`` is told of
        each node that shows it, ``refuses`` of each that refuses the order. Who refuses it is not
        waited for. Raises :class:`mesh.registry.client.Unreachable` where no registry takes the
        order all the while.
        """
        awaited, clock = sorted(nodes), Clock(seconds)
        spoken: set[str] = set()
        refused: dict[str, Refusal] = {}
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
                reports = self.reports()
                missing = [n for n in awaited if n not in reports or not holds(reports[n], order)]
                for node in (n for n in awaited if n not in missing and n not in spoken):
                    heard(node)
                    spoken.add(node)
                refused = self.refused(order, reports.values())
                for node in (n for n in missing if n in refused and n not in spoken):
                    refuses(node, refused[node])
                    spoken.add(node)
            if set(missing) <= refused.keys() or clock.over:
                return missing
            time.sleep(POLL)


def withdrawn(report: Report, order: DrainOrder) -> bool:
    """Whether a node says that it has obeyed an order to drain, and its BIRD exports no aggregate
    to an upstream any more. (An older agent does not say what BIRD exports.)"""
    health = report.health
    obeyed = health.drain >= order.number and health.drained and not health.in_service
    return obeyed and not health.bird and not any((health.announced or {}).values())


def back(report: Report, order: DrainOrder) -> bool:
    """Whether a node says that it is not drained any more."""
    return report.health.drain >= order.number and not report.health.drained
