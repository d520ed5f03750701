"""Blackholes: the operator's signed order of which addresses are given up for a while, what may be
given up at all, and the nodes' word that they discard them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from mesh.limits import MAX_BLACKHOLES
from mesh.plan import Address, Plan
from mesh.publish.order_log import POLL, OrderLog
from mesh.publish.registry_pool import Clock
from mesh.registry.client import Unreachable
from mesh.spec.problems import Problem
from mesh.trust.documents import Blackhole, BlackholeOrder, Refusal, Report
from mesh.trust.orders import BLACKHOLE

KEY = "address"


class NotAllowed(Exception):
    """An address that is not discarded, and why. ``forcible`` where the operator may insist."""

    def __init__(self, problem: Problem, *, forcible: bool = False) -> None:
        super().__init__(str(problem))
        self.problem, self.forcible = problem, forcible


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an address that may be discarded takes with it, in words for the operator, and whether
    the nodes have to be told that the operator insists."""

    warnings: tuple[str, ...]
    forced: bool


def judged(plan: Plan, address: Address, *, force: bool) -> Verdict:
    """What discarding this address means; :class:`NotAllowed` where it cannot be, or not without
    force."""
    if any(net.version == address.version and address in net for net in plan.tunnels.both()):
        raise NotAllowed(
            Problem(
                KEY,
                str(address),
                "lies in the tunnels' own prefix: the mesh itself would go, and nothing out there "
                "is sent to it",
                "name the address that is attacked",
            )
        )
    owned = plan.prefixes.both()
    if not any(net.version == address.version and address in net for net in owned):
        raise NotAllowed(
            Problem(
                KEY,
                str(address),
                "is not this network's, and nobody discards for others",
                f"name an address of {' or '.join(map(str, owned))}",
            )
        )
    services = [one.name for one in plan.services if address in one.addresses.both()]
    if services and not force:
        raise NotAllowed(
            Problem(
                KEY,
                str(address),
                f"is the address of the service {', '.join(services)}, which would be gone over "
                f"IPv{address.version} for everybody and everywhere",
                "withdraw the region under attack (mesh region withdraw), or insist (--force)",
            ),
            forcible=True,
        )
    warnings = [
        f"{address}: takes the service {name} off over IPv{address.version}, everywhere"
        for name in services
    ]
    warnings += [
        f"{address}: is the address of {node.id}, which nobody reaches by it meanwhile; its SSH, "
        f"tunnels and sessions have others, and stay"
        for node in plan.nodes
        if address in node.announced.both()
    ]
    return Verdict(tuple(warnings), bool(services))


@dataclass(frozen=True, slots=True)
class Heard:
    """Addresses that these nodes discard, by their own word, because ``mates`` told them so over
    iBGP, and no signed order."""

    addresses: tuple[Address, ...]
    nodes: tuple[str, ...]
    mates: tuple[str, ...]


def heard(reports: Iterable[Report], order: BlackholeOrder | None, now: float) -> tuple[Heard, ...]:
    """What these nodes discard that the order that counts does not name; those that the same nodes
    have from the same peers together. ``now`` is seconds since the epoch."""
    named = set() if order is None else {entry.address for entry in order.in_force(now)}
    by: dict[Address, set[str]] = {}
    told: dict[Address, set[str]] = {}
    for report in reports:
        for one in report.health.hearsay:
            if one.address not in named:
                by.setdefault(one.address, set()).add(report.node)
                told.setdefault(one.address, set()).add(one.mate)
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Address]] = {}
    for address in sorted(by, key=lambda one: (one.version, int(one))):
        who = tuple(sorted(by[address])), tuple(sorted(told[address]))
        found.setdefault(who, []).append(address)
    return tuple(
        Heard(tuple(addresses), nodes, mates) for (nodes, mates), addresses in sorted(found.items())
    )


class Blackholes(OrderLog[BlackholeOrder]):
    """What is discarded in one network, at the registries."""

    kind = BLACKHOLE

    def add(self, entry: Blackhole) -> BlackholeOrder:
        """Orders one more address, or another end and reason for one; all others stay. The order
        that counts then. Raises :class:`NotAllowed` where there are too many already, and
        :class:`mesh.registry.client.Unreachable` as :meth:`Standing.follow` does."""

        def following(held: BlackholeOrder | None, number: int) -> BlackholeOrder | None:
            if held is not None and entry in held.entries:
                return None
            others = _others(held, entry.address)
            if len(others) >= MAX_BLACKHOLES:
                raise NotAllowed(_too_many(entry.address))
            return self._made(number, (*others, entry))

        order = self.follow(following)
        assert order is not None
        return order

    def remove(self, address: Address) -> BlackholeOrder | None:
        """Orders that this address is discarded no more; all others stay. The order that counts
        then, None where there never was one."""

        def following(held: BlackholeOrder | None, number: int) -> BlackholeOrder | None:
            if held is None or all(entry.address != address for entry in held.entries):
                return None
            return self._made(number, _others(held, address))

        return self.follow(following)

    def obeyed(
        self, order: BlackholeOrder, reports: Mapping[str, Report] | None = None
    ) -> frozenset[str]:
        """The nodes that say (in these reports, or in their last ones) that this order, or a later
        one, is in force there."""
        reports = self.reports() if reports is None else reports
        return frozenset(n for n, one in reports.items() if one.health.blackhole >= order.number)

    def wait(
        self,
        ordered: Callable[[], BlackholeOrder | None],
        nodes: Collection[str],
        seconds: float,
        heard: Callable[[str], None],
        refuses: Callable[[str, Refusal], None] = lambda *_: None,
    ) -> list[str]:
        """Waits until these nodes have obeyed; those that have not said so in time. ``ordered``
        orders it, and does so again where a registry that had lost its memory is brought a higher
        order that says otherwise; ``heard`` is told of each node once, ``refuses`` of each that
        refuses the order and is not waited for. Raises
        :class:`mesh.registry.client.Unreachable` where no registry takes the order all the
        while."""
        clock, missing = Clock(seconds), sorted(nodes)
        refused: dict[str, Refusal] = {}
        while True:
            try:
                order = ordered()
            except Unreachable:
                if clock.over:
                    raise
                order = None
            if order is not None:
                reports = self.reports()
                obeyed = self.obeyed(order, reports)
                for node in [node for node in missing if node in obeyed]:
                    missing.remove(node)
                    heard(node)
                before, refused = refused.keys(), self.refused(order, reports.values())
                for node in (n for n in missing if n in refused and n not in before):
                    refuses(node, refused[node])
            if set(missing) <= refused.keys() or clock.over:
                return missing
            time.sleep(POLL)

    def _made(self, number: int, entries: Collection[Blackhole]) -> BlackholeOrder:
        held = sorted(entries, key=lambda one: (one.address.version, int(one.address)))
        return BlackholeOrder(self.network, number, tuple(held))


def _others(held: BlackholeOrder | None, address: Address) -> tuple[Blackhole, ...]:
    """What stays in force beside an address: what has ended is left out of the next order."""
    entries = () if held is None else held.in_force(time.time())
    return tuple(entry for entry in entries if entry.address != address)


def _too_many(address: Address) -> Problem:
    return Problem(
        KEY,
        str(address),
        f"would be one more than the {MAX_BLACKHOLES} that are discarded at the same time: "
        f"upstreams take no more of them",
        "remove one first (mesh blackhole list), or withdraw the region under attack "
        "(mesh region withdraw)",
    )
