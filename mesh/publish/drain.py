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
    """Who is drained in one network, at its operator's desk.

    A registry may show an old order. So ``known`` is the last one that the operator remembers, and
    what the nodes of ``identities`` say that they have obeyed is not gone below either.
    """

    def __init__(
        self,
        desk: Desk,
        operator_key: str,
        network: str,
        identities: Mapping[str, str],
        known: DrainOrder | None = None,
    ) -> None:
        self._desk, self._key, self._network = desk, operator_key, network
        self._identities = identities
        self._known = None if known is None or known.network != network else known

    def order(self) -> DrainOrder | None:
        """The order that counts: the highest that any registry holds, or that we remember; None
        where there is none."""
        return self._remembered(self._desk.drain_order(self._network))

    def _remembered(self, shown: DrainOrder | None) -> DrainOrder | None:
        if shown is not None and (self._known is None or shown.number >= self._known.number):
            self._known = shown
        return self._known

    def drained(self) -> frozenset[str]:
        """The nodes that are drained by it."""
        order = self.order()
        return frozenset() if order is None else frozenset(order.nodes)

    def change(self, drain: Iterable[str] = (), undrain: Iterable[str] = ()) -> DrainOrder | None:
        """Orders that these nodes are drained, and those are not; all others stay what they are.

        The order that counts then: no new one where it says so already. Raises
        :class:`mesh.discovery.client.Unreachable` where no registry takes it, or none that can be
        reached shows an order as high as the nodes have obeyed: built on an older one, ours would
        bring back who is drained, and the nodes would not follow it.
        """
        for _ in range(TRIES):
            # Asked first: what is obeyed by now, an honest registry shows by then.
            obeyed = latest(self._desk.reports(self._identities))
            shown = self._desk.drain_order(self._network)
            held = self._remembered(shown)
            _refuse_old(held, obeyed)
            before = frozenset() if held is None else frozenset(held.nodes)
            wanted = (before - frozenset(undrain)) | frozenset(drain)
            if wanted == before:
                # What we remember and no registry shows is brought back to them.
                if held is None or held == shown or self._desk.put_drain_order(held, self._key):
                    return held
                continue
            number = 1 if held is None else held.number + 1
            order = DrainOrder(self._network, number, tuple(sorted(wanted)))
            if self._desk.put_drain_order(order, self._key):
                return order
        raise Unreachable("no registry takes the drain order: others are signed at the same time")

    def wait(
        self,
        nodes: Iterable[str],
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
                reports = latest(self._desk.reports(self._identities))
                missing = [n for n in awaited if n not in reports or not holds(reports[n], order)]
            if not missing or clock.over:
                return missing
            time.sleep(POLL)


def _refuse_old(held: DrainOrder | None, obeyed: Mapping[str, Report]) -> None:
    number = 0 if held is None else held.number
    above = {n: r.health.drain for n, r in sorted(obeyed.items()) if r.health.drain > number}
    if above:
        raise Unreachable(
            f"a registry shows an old drain order: the highest is {number}, but "
            f"{', '.join(f'{node} has obeyed {drain}' for node, drain in above.items())}; bring "
            f"back the other registries (mesh status), or replace the node that is not to be "
            f"believed (pulumi up --replace '**<node>-instance')"
        )


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
