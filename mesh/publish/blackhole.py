"""Blackholes (RTBH): the operator's signed order, which addresses it may contain, and which nodes
have applied it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from mesh.limits import MAX_BLACKHOLES
from mesh.plan import Address, Plan, PlannedService
from mesh.publish.order_log import POLL, OrderLog
from mesh.publish.registry_pool import Deadline
from mesh.registry.client import Unreachable
from mesh.spec.problems import Problem
from mesh.trust.documents import Blackhole, BlackholeOrder, Refusal, Report
from mesh.trust.orders import BLACKHOLE

KEY = "address"


class NotAllowed(Exception):
    """An address that may not be blackholed, and why. ``forcible`` where ``--force`` permits it."""

    def __init__(self, problem: Problem, *, forcible: bool = False) -> None:
        super().__init__(str(problem))
        self.problem, self.forcible = problem, forcible


@dataclass(frozen=True, slots=True)
class Verdict:
    """What else goes down with a blackholed address, as warnings, and whether the order has to
    state that it is forced."""

    warnings: tuple[str, ...]
    forced: bool


def judged(plan: Plan, address: Address, *, force: bool) -> Verdict:
    """What a blackhole of this address means; :class:`NotAllowed` where it may not be, or only with
    ``force``."""
    if any(net.version == address.version and address in net for net in plan.tunnels.both()):
        raise NotAllowed(
            Problem(
                KEY,
                str(address),
                "is in the tunnels' prefix: the mesh itself would go down, and it gets no traffic "
                "from the Internet",
                "give the address under attack",
            )
        )
    owned = plan.owned
    if not any(net.version == address.version and address in net for net in owned):
        raise NotAllowed(
            Problem(
                KEY,
                str(address),
                "is not an address of this network",
                f"give an address of {' or '.join(map(str, owned))}",
            )
        )
    service = next((one for one in plan.services if address in one.addresses.both()), None)
    warnings = []
    if service is not None:
        lost = _lost(service, address)
        warnings.append(f"{address}: takes the service {service.name} down {lost}, everywhere")
    if service is not None and not force:
        raise NotAllowed(
            Problem(
                KEY,
                str(address),
                f"is the address of the service {service.name}, which would be down {lost} "
                "everywhere",
                "withdraw the region under attack (mesh region withdraw), or use --force",
            ),
            forcible=True,
        )
    warnings += [
        f"{address}: is the address of {node.id}, unreachable by it meanwhile; its SSH, tunnels "
        f"and sessions use others, and stay up"
        for node in plan.nodes
        if address in node.announced.both()
    ]
    return Verdict(tuple(warnings), service is not None)


def _lost(service: PlannedService, address: Address) -> str:
    """Where a service is down that lacks one of its addresses."""
    versions = [each.version for each in service.addresses.both()]
    alone = versions.count(address.version) == 1
    return f"over IPv{address.version}" if alone else "at this address"


@dataclass(frozen=True, slots=True)
class UnsignedBlackhole:
    """Addresses that these nodes report as discarded because their iBGP neighbors ``mates``
    announce it, without a signed order."""

    addresses: tuple[Address, ...]
    nodes: tuple[str, ...]
    mates: tuple[str, ...]


def unsigned_blackholes(
    reports: Iterable[Report], order: BlackholeOrder | None, now: float
) -> tuple[UnsignedBlackhole, ...]:
    """Addresses that nodes discard and that are not in the order in force, grouped by nodes and
    neighbors. ``now`` is seconds since the epoch."""
    named = set() if order is None else {entry.address for entry in order.in_force(now)}
    by: dict[Address, set[str]] = {}
    sources: dict[Address, set[str]] = {}
    for report in reports:
        for one in report.health.hearsay:
            if one.address not in named:
                by.setdefault(one.address, set()).add(report.node)
                sources.setdefault(one.address, set()).add(one.mate)
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Address]] = {}
    for address in sorted(by, key=lambda one: (one.version, int(one))):
        group = tuple(sorted(by[address])), tuple(sorted(sources[address]))
        found.setdefault(group, []).append(address)
    return tuple(
        UnsignedBlackhole(tuple(addresses), nodes, mates)
        for (nodes, mates), addresses in sorted(found.items())
    )


class Blackholes(OrderLog[BlackholeOrder]):
    """The blackhole orders of one network at the registries."""

    kind = BLACKHOLE

    def add(self, entry: Blackhole) -> BlackholeOrder:
        """Adds an address, or changes the end and reason of one; returns the order then in force.
        Raises :class:`NotAllowed` where there are too many, and
        :class:`mesh.registry.client.Unreachable` as :meth:`OrderLog.follow` does."""

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
        """Removes an address; returns the order then in force, None where there never was one."""

        def following(held: BlackholeOrder | None, number: int) -> BlackholeOrder | None:
            if held is None or all(entry.address != address for entry in held.entries):
                return None
            return self._made(number, _others(held, address))

        return self.follow(following)

    def obeyed(
        self, order: BlackholeOrder, reports: Mapping[str, Report] | None = None
    ) -> frozenset[str]:
        """The nodes that report (in ``reports``, or else in their last ones) that they have applied
        this order or a later one."""
        reports = self.reports() if reports is None else reports
        return frozenset(n for n, one in reports.items() if one.health.blackhole >= order.number)

    def wait(
        self,
        ordered: Callable[[], BlackholeOrder | None],
        nodes: Collection[str],
        seconds: float,
        on_obeyed: Callable[[str], None],
        on_refused: Callable[[str, Refusal], None] = lambda *_: None,
    ) -> list[str]:
        """Waits until these nodes have applied the order; returns those that have not reported it
        in time. ``ordered`` signs it, at every turn: a registry that had lost its data may get back
        a higher order that undoes it. ``on_obeyed`` is called once for each node, ``on_refused``
        for each that refuses the order; those are not waited for. Raises
        :class:`mesh.registry.client.Unreachable` where no registry takes the order in time."""
        clock, missing = Deadline(seconds), sorted(nodes)
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
                    on_obeyed(node)
                before, refused = refused.keys(), self.refused(order, reports.values())
                for node in (n for n in missing if n in refused and n not in before):
                    on_refused(node, refused[node])
            if set(missing) <= refused.keys() or clock.over:
                return missing
            time.sleep(POLL)

    def _made(self, number: int, entries: Collection[Blackhole]) -> BlackholeOrder:
        held = sorted(entries, key=lambda one: (one.address.version, int(one.address)))
        return BlackholeOrder(self.network, number, tuple(held))


def _others(held: BlackholeOrder | None, address: Address) -> tuple[Blackhole, ...]:
    """The other entries in force; the next order leaves expired ones out."""
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
