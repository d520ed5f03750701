"""Holds: the operator's signed order of which nodes repair and apply nothing for a while, and which
nodes have applied it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from mesh.publish.order_log import POLL, OrderLog
from mesh.publish.registry_pool import Deadline
from mesh.registry.client import Unreachable
from mesh.trust.documents import MAX_HELD, MAX_HOLD, Hold, HoldOrder, Report
from mesh.trust.encoding import moment
from mesh.trust.orders import HOLD


def held_until(report: Report, now: float) -> str:
    """When a node's hold ends by its report (RFC 3339), empty where it is not held; ``now`` is
    seconds since the epoch."""
    # No hold is longer, whatever a node reports.
    until = min(report.health.held or 0, int(now) + MAX_HOLD)
    if until <= now:
        return ""
    return moment(until)


class Holds(OrderLog[HoldOrder]):
    """The hold orders of one network at the registries."""

    kind = HOLD

    def change(self, nodes: Collection[str], until: int) -> HoldOrder | None:
        """Holds these nodes until then (seconds since the epoch), or ends their hold with 0;
        returns the order then in force. Expired holds are left out."""

        def following(held: HoldOrder | None, number: int) -> HoldOrder | None:
            others = [
                one
                for one in (() if held is None else held.holds)
                if one.node not in nodes and one.until > time.time()
            ]
            own = [Hold(node, until) for node in nodes] if until else []
            named = {one.node for one in (() if held is None else held.holds)}
            if not own and named.isdisjoint(nodes):
                return None
            entries = sorted([*others, *own], key=lambda one: one.node)[:MAX_HELD]
            return HoldOrder(self.network, number, tuple(entries))

        return self.follow(following)

    def wait(
        self,
        nodes: Iterable[str],
        order: HoldOrder,
        seconds: float,
        on_obeyed: Callable[[str], None],
    ) -> list[str]:
        """Waits until these nodes have applied the order; returns those that have not in time."""
        missing, clock = list(nodes), Deadline(seconds)
        while True:
            try:
                reports = self.reports()
            except Unreachable:
                reports = {}
            for node in list(missing):
                report = reports.get(node)
                if report is not None and report.health.hold >= order.number:
                    missing.remove(node)
                    on_obeyed(node)
            if not missing or clock.over:
                return missing
            time.sleep(POLL)
