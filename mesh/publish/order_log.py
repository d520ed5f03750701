"""The operator's orders at the registries: the one in force, and the next one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from mesh.publish.refused import refusing
from mesh.publish.registry_pool import Deadline, RegistryPool, highest
from mesh.registry.client import Unreachable
from mesh.trust.documents import Refusal, Report
from mesh.trust.orders import Order, OrderKind

T = TypeVar("T", bound=Order)

POLL = 0.2
"""Seconds between requests to the registries."""
TRIES = 5
"""Attempts: two operators may sign at once, and registries take one order of each number."""
PATIENCE = 8.0
"""Seconds after which a single node's report of a higher order is ignored. A working node returns
that order to a registry that has lost it, within five seconds."""


class OrderLog(Generic[T]):
    """The orders of one ``kind`` in one network, at the registries.

    A registry may present an old order. So a new one is numbered above ``known``, the last one in
    the stack's state, and above what the nodes of ``identities`` report as applied. A number that
    one node alone reports, against every registry that answers, is ignored: one node must not
    block all orders. ``warn`` is called once for such a node.
    """

    kind: OrderKind[T]

    def __init__(
        self,
        pool: RegistryPool,
        operator_key: str,
        network: str,
        identities: Mapping[str, str],
        known: T | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pool, self._key, self.network = pool, operator_key, network
        self._identities, self._warn = identities, warn
        self._doubted: set[str] = set()
        self._known = None if known is None or known.network != network else known

    def order(self) -> T | None:
        """The order in force: the highest at any registry or in the state; None where there is
        none."""
        return self._remembered(self._pool.order(self.kind, self.network))

    def reports(self) -> dict[str, Report]:
        """The last report of each node."""
        return latest(self._pool.reports(self._identities))

    def refused(self, order: T, reports: Iterable[Report]) -> dict[str, Refusal]:
        """The nodes that refuse this order, by their last reports."""
        return refusing(reports, self.kind.digest(order))

    def follow(self, following: Callable[[T | None, int], T | None]) -> T | None:
        """Signs the next order and sends it to the registries; returns the order then in force.

        ``following`` gets the order in force and the next number, and returns None where nothing
        changes. Raises :class:`mesh.registry.client.Unreachable` where no registry takes the order,
        or no reachable one has an order as high as the nodes have applied: based on an older one,
        the new order would undo later ones, and the nodes would refuse it.
        """
        for _ in range(TRIES):
            held, shown = self._in_force()
            order = following(held, 1 if held is None else held.number + 1)
            if order is None:
                # Registries that have lost the known order get it back.
                if held is None or held == shown or self._put(held):
                    return held
            elif self._put(order):
                return order
        raise Unreachable(
            f"no registry takes the {self.kind.name}: another one is signed at the same time"
        )

    def _put(self, order: T) -> bool:
        return self._pool.put_order(self.kind, order, self._key)

    def _remembered(self, shown: T | None) -> T | None:
        if shown is not None and (self._known is None or shown.number >= self._known.number):
            self._known = shown
        return self._known

    def _in_force(self) -> tuple[T | None, T | None]:
        """The order in force, and the highest one at a registry."""
        clock = Deadline(PATIENCE)
        while True:
            # Reports first: the orders that they name are at the registries by then.
            reports = self.reports()
            shown = self._pool.orders(self.kind, self.network)
            top = highest(shown.values())
            held = self._remembered(top)
            number = 0 if held is None else held.number
            obeyed = {n: self.kind.obeyed(r.health) for n, r in sorted(reports.items())}
            above = {node: one for node, one in obeyed.items() if one > number}
            if not above:
                return held, top
            if len(above) > 1 or not _agree(shown, number, next(iter(above))):
                raise Unreachable(_old(self.kind.name, number, above))
            if clock.over or above.keys() <= self._doubted:
                self._doubt(number, *above.popitem())
                return held, top
            time.sleep(POLL)

    def _doubt(self, number: int, node: str, claimed: int) -> None:
        if node not in self._doubted:
            self._doubted.add(node)
            self._warn(
                f"warning: {node} reports that it has applied {self.kind.name} {claimed}, but "
                f"every registry that answers holds {number or 'none'} and no other node reports "
                f"more: ignored; {node} is probably broken or compromised (`mesh status`, then "
                f"`mesh replace {node}`)"
            )


def _agree(shown: Mapping[str, Order | None], number: int, node: str) -> bool:
    """Whether every registry that answers holds the order of that number. The registry on that node
    counts only where there is no other."""
    others = {one: order for one, order in shown.items() if one != node} or shown
    numbers = {0 if order is None else order.number for order in others.values()}
    return numbers == {number}


def _old(name: str, number: int, above: Mapping[str, int]) -> str:
    return (
        f"the registries hold an old {name}: the highest is {number}, but "
        f"{', '.join(f'{node} has applied {one}' for node, one in above.items())}; bring back the "
        f"other registries (mesh status), or replace the node with the wrong report (mesh replace "
        f"<node>)"
    )


def latest(reports: Iterable[Report]) -> dict[str, Report]:
    """The last report of each node: registries may hold different ones."""
    return {report.node: report for report in sorted(reports, key=lambda one: one.sequence)}
