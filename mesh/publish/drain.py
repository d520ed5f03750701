"""Draining: the operator's signed order of the drained nodes, and which nodes have applied it.

A node that drains announces graceful shutdown, withdraws, and stops its services. It stays drained
until an order no longer contains it, also over reboots and lost registries.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from mesh.publish.order_log import POLL, OrderLog
from mesh.publish.registry_pool import Deadline
from mesh.registry.client import Unreachable
from mesh.trust.documents import DrainOrder, Refusal, Report
from mesh.trust.orders import DRAIN

DRAIN_SECONDS = 15.0
"""Seconds to wait for a node that is about to be removed, beside those for which it lingers: three
times what graceful shutdown and withdrawal take."""

Expected = Callable[[Report, DrainOrder], bool]


class Drains(OrderLog[DrainOrder]):
    """The drain orders of one network at the registries."""

    kind = DRAIN

    def drained(self) -> frozenset[str]:
        """The nodes that the order in force drains."""
        order = self.order()
        return frozenset() if order is None else frozenset(order.nodes)

    def change(self, drain: Iterable[str] = (), undrain: Iterable[str] = ()) -> DrainOrder | None:
        """Drains and undrains these nodes; all others stay as they are.

        Returns the order then in force, which is a new one only where something changes. Raises
        :class:`mesh.registry.client.Unreachable` as :meth:`OrderLog.follow` does.
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
        on_obeyed: Callable[[str], None] = lambda _: None,
        on_refused: Callable[[str, Refusal], None] = lambda *_: None,
    ) -> list[str]:
        """Waits until these nodes have applied the order; returns those that have not in time.

        The order is checked at every turn: a registry that had lost its data may get back a higher
        one that undoes it. ``expected`` is what a report has to show; ``on_obeyed`` is called for
        each node that shows it, ``on_refused`` for each that refuses the order; those are not
        waited for. Raises :class:`mesh.registry.client.Unreachable` where no registry takes the
        order in time.
        """
        awaited, clock = sorted(nodes), Deadline(seconds)
        reported: set[str] = set()
        refused: dict[str, Refusal] = {}
        applied = expected or (withdrawn if drain else back)
        while True:
            missing = awaited
            try:
                order = self.change(drain=awaited) if drain else self.change(undrain=awaited)
            except Unreachable:
                # A registry restarts, or runs on the node that is removed.
                if clock.over:
                    raise
                order = None
            if order is not None:
                reports = self.reports()
                missing = [n for n in awaited if n not in reports or not applied(reports[n], order)]
                for node in (n for n in awaited if n not in missing and n not in reported):
                    on_obeyed(node)
                    reported.add(node)
                refused = self.refused(order, reports.values())
                for node in (n for n in missing if n in refused and n not in reported):
                    on_refused(node, refused[node])
                    reported.add(node)
            if set(missing) <= refused.keys() or clock.over:
                return missing
            time.sleep(POLL)


def withdrawn(report: Report, order: DrainOrder) -> bool:
    """Whether a node reports that it has applied an order to drain, and that BIRD no longer exports
    an aggregate to an upstream. (Older agents do not report exports.)"""
    health = report.health
    obeyed = health.drain >= order.number and health.drained and not health.in_service
    return obeyed and not health.bird and not any((health.announced or {}).values())


def back(report: Report, order: DrainOrder) -> bool:
    """Whether a node reports that it is no longer drained."""
    return report.health.drain >= order.number and not report.health.drained
