"""The operator's orders at the registries: what counts now, and the next one after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from mesh.publish.refused import refusing
from mesh.publish.registry_pool import Clock, RegistryPool, highest
from mesh.registry.client import Unreachable
from mesh.trust.documents import Refusal, Report
from mesh.trust.orders import Kind, Order

T = TypeVar("T", bound=Order)

POLL = 0.2
"""Seconds between two looks at the registries."""
TRIES = 5
"""Orders may cross: the registries take one of each number."""
PATIENCE = 8.0
"""Seconds until a node that says alone that it has obeyed a higher order is not believed: an honest
one hands that order on to a registry that has lost it, within the five of its line's pause."""


class OrderLog(Generic[T]):
    """The orders of one ``kind`` in one network, at the registries.

    A registry may show an old order. So ``known`` is the last one that the operator remembers, and
    what the nodes of ``identities`` say that they have obeyed is not gone below either, unless only
    one of them says so against every registry that answers: nobody vetoes all orders by a number
    that it has invented. ``warn`` is told of such a node, once.
    """

    kind: Kind[T]

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
        """The order that counts: the highest that any registry holds, or that we remember; None
        where there is none."""
        return self._remembered(self._pool.order(self.kind, self.network))

    def reports(self) -> dict[str, Report]:
        """The last word of each node."""
        return latest(self._pool.reports(self._identities))

    def refused(self, order: T, reports: Iterable[Report]) -> dict[str, Refusal]:
        """The nodes that refuse an order of ours, by their last word."""
        return refusing(reports, self.kind.digest(order))

    def follow(self, following: Callable[[T | None, int], T | None]) -> T | None:
        """Signs the order that is to follow the one that counts, and brings it to the registries.

        ``following`` gets the order that counts and the next number; it gives None where nothing
        has to change. The order that counts then. Raises
        :class:`mesh.registry.client.Unreachable` where no registry takes it, or none that can be
        reached shows an order as high as the nodes have obeyed: built on an older one, ours would
        undo what has been ordered since, and the nodes would not follow it. (One node's word alone
        is waited on for a while, and then passed over.)
        """
        for _ in range(TRIES):
            held, shown = self._counts()
            order = following(held, 1 if held is None else held.number + 1)
            if order is None:
                # What we remember and no registry shows is brought back to them.
                if held is None or held == shown or self._put(held):
                    return held
            elif self._put(order):
                return order
        raise Unreachable(
            f"no registry takes the {self.kind.name}: others are signed at the same time"
        )

    def _put(self, order: T) -> bool:
        return self._pool.put_order(self.kind, order, self._key)

    def _remembered(self, shown: T | None) -> T | None:
        if shown is not None and (self._known is None or shown.number >= self._known.number):
            self._known = shown
        return self._known

    def _counts(self) -> tuple[T | None, T | None]:
        """The order to build on, and the highest that a registry shows."""
        clock = Clock(PATIENCE)
        while True:
            # Asked first: what is obeyed by now, an honest registry shows by then.
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
                f"warning: {node} says that it has obeyed {self.kind.name} {claimed}, but every "
                f"registry that answers holds {number or 'none'} and no other node is above: not "
                f"believed, and gone on without; {node} is likely broken or in other hands (`mesh "
                f"status`, then `mesh replace {node}`)"
            )


def _agree(shown: Mapping[str, Order | None], number: int, node: str) -> bool:
    """Whether every registry that answers holds the order of that number, whatever the one on the
    node itself says; that one where there is no other."""
    others = {one: order for one, order in shown.items() if one != node} or shown
    numbers = {0 if order is None else order.number for order in others.values()}
    return numbers == {number}


def _old(name: str, number: int, above: Mapping[str, int]) -> str:
    return (
        f"a registry shows an old {name}: the highest is {number}, but "
        f"{', '.join(f'{node} has obeyed {one}' for node, one in above.items())}; bring back the "
        f"other registries (mesh status), or replace the node that is not to be believed (mesh "
        f"replace <node>)"
    )


def latest(reports: Iterable[Report]) -> dict[str, Report]:
    """The last word of each node: registries may hold different ones."""
    return {report.node: report for report in sorted(reports, key=lambda one: one.sequence)}
