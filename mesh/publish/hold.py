"""Holds: the operator's signed order who repairs and applies nothing for a while, and the nodes'
word that they don't."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable

from mesh.publish.order_log import POLL, OrderLog
from mesh.publish.registry_pool import Clock
from mesh.registry.client import Unreachable
from mesh.trust.documents import MAX_HELD, MAX_HOLD, Hold, HoldOrder, Report
from mesh.trust.encoding import moment
from mesh.trust.orders import HOLD


def held_until(report: Report, now: float) -> str:
    """When a node's hold ends by its own word (RFC 3339), empty where it is not held; ``now`` is
    seconds since the epoch."""
    # A node that says more than any hold can be does not get more.
    until = min(report.health.held or 0, int(now) + MAX_HOLD)
    if until <= now:
        return ""
    return moment(until)


class Holds(OrderLog[HoldOrder]):
    """Who is held in one network, at the registries."""

    kind = HOLD

    def change(self, nodes: Collection[str], until: int) -> HoldOrder | None:
        """Orders that these nodes are held until then (seconds since the epoch), 0 for no longer;
        the order that counts then. What has ended is left out."""

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
        self, nodes: Iterable[str], order: HoldOrder, seconds: float, heard: Callable[[str], None]
    ) -> list[str]:
        """Until these nodes have obeyed the order, at most so long; those that have not."""
        missing, clock = list(nodes), Clock(seconds)
        while True:
            try:
                reports = self.reports()
            except Unreachable:
                reports = {}
            for node in list(missing):
                report = reports.get(node)
                if report is not None and report.health.hold >= order.number:
                    missing.remove(node)
                    heard(node)
            if not missing or clock.over:
                return missing
            time.sleep(POLL)
