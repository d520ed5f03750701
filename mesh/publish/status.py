"""The status of a mesh, from the nodes' signed reports at the registries."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from mesh.netns import inside
from mesh.plan import Network, Plan
from mesh.publish import clocks, expected
from mesh.publish.alarms import NodeWarning, warnings
from mesh.publish.announcers import (
    Announces,
    PrefixAnnouncement,
    announce_states,
)
from mesh.publish.blackhole import Blackholes
from mesh.publish.drain import Drains
from mesh.publish.hold import Holds, held_until
from mesh.publish.order import Fleet
from mesh.publish.order_log import latest
from mesh.publish.recent import AHEAD_SECONDS, is_recent, seconds_since
from mesh.publish.registry_pool import RegistryPool, top
from mesh.publish.rollout_orders import Rollouts
from mesh.publish.served import ServiceStatus, by_family, services
from mesh.publish.session_errors import explained
from mesh.publish.unreachable import UnreachableNode, unreachable
from mesh.trust.documents import (
    BlackholeOrder,
    DrainOrder,
    Health,
    HoldOrder,
    Manifest,
    Refusal,
    Repair,
    Report,
    RolloutOrder,
)
from mesh.trust.encoding import moment

AHEAD = "its last report is dated in the future: its clock is wrong, or the report is forged"


@dataclass(frozen=True, slots=True)
class SessionDown:
    """A session that the plan expects and that is not Established: its state in BIRD or
    ``missing``, and BIRD's last error, with its cure where that is known. ``age`` is seconds since
    it went down, None where unknown."""

    state: str
    error: str = ""
    age: float | None = None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. ``state`` is ``applied``, ``failed``, ``withdrawn``, ``waiting`` (an update has not
    come to it yet), ``updating`` (it drains for an update, or applies it), ``behind`` (its last
    report is on an earlier generation for another reason), ``unreachable`` (all its peers have lost
    their tunnels to it since its last report), ``silent``, or ``unknown`` where no registry
    answers; ``age`` is seconds since its last report, by the node's clock. ``drain`` is empty,
    ``draining`` until it reports that it has applied the order, or ``drained``: it has withdrawn
    and serves nothing."""

    state: str
    generation: int
    age: float | None
    reason: str = ""
    in_service: bool = False
    services: dict[str, bool] = field(default_factory=dict)
    """Whether it serves a service, in all families."""
    sessions: dict[str, str] = field(default_factory=dict)
    tls_mismatches: tuple[str, ...] = ()
    drain: str = ""
    refused: dict[str, int] = field(default_factory=dict)
    """Routes that it has rejected since its agent started, by reason."""
    stale: bool = False
    """Whether this is from an old report, and its current state is unknown."""
    awaited: bool = True
    """False for nodes of ``mesh:without``."""
    announces: dict[str, str] = field(default_factory=dict)
    """``yes``, ``no`` or ``unknown`` for each prefix that it is to announce, by its Established
    upstream sessions and what BIRD exports on them."""
    why_not: dict[str, str] = field(default_factory=dict)
    """Why not, or why it is unknown, by prefix."""
    bird: str | None = None
    """Empty where its BIRD answers, else why it does not; None for older agents."""
    expected: tuple[str, ...] = ()
    """The sessions that the plan expects."""
    down: dict[str, SessionDown] = field(default_factory=dict)
    """Those of them that are not."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a service is down, by service."""
    tunnels: dict[str, str] = field(default_factory=dict)
    """What is wrong with a tunnel, by its interface."""
    refusals: tuple[Refusal, ...] = ()
    """Generations and orders that it refuses."""
    faults: dict[str, str] = field(default_factory=dict)
    """Faults of the node or its agent: ``disk``, ``registry`` where its port was closed to other
    nodes, a thread that has failed, or ``unconfirmed``, a generation that is undone without a new
    log-in."""
    held: str = ""
    """When its hold ends (RFC 3339): it repairs and applies nothing until then. Empty where it is
    not held."""
    repaired: int | None = None
    """How many repairs it has made since its agent started; None for older agents."""
    repairs: tuple[Repair, ...] = ()
    """The repairs of the last ten minutes, and what it no longer repairs."""
    clock: float | None = None
    """Seconds by which its clock is ahead of this machine's, 0 where they agree; None where
    unknown."""
    families: dict[str, dict[str, bool]] = field(default_factory=dict)
    """The same by family; nothing for older agents."""
    warnings: dict[str, str] = field(default_factory=dict)
    """What is to be seen to although the service works, by service, or by service and the node
    whose instance does not answer from outside."""
    contents: dict[str, str] = field(default_factory=dict)
    """The SHA-256 of what it serves, by service."""
    units: dict[str, str] = field(default_factory=dict)
    """The state of the unit of an external service."""
    orders: dict[str, int] = field(default_factory=dict)
    """The numbers of the orders that it has applied last, by their kind (``drain``, ``blackhole``,
    ``hold``, ``rollout``), 0 for none."""
    update: str = ""
    """Where it is in an update: ``waiting``, ``draining`` by itself, or ``applying``; else
    empty."""
    bundle: str = ""
    """The SHA-256 of the bundle that it runs."""
    reported_to: tuple[str, ...] = ()
    """The registries that hold its last report, by their URLs."""
    system: str = ""
    """The operating system and its release, as the node said when it joined."""

    @property
    def apart(self) -> str:
        """Why what it does not announce and serve is meant so: its ``drain``, or that it is
        ``updating``; empty for no reason."""
        return self.drain or ("updating" if self.state == "updating" else "")

    @property
    def is_known(self) -> bool:
        """Whether its current state is known."""
        return not self.stale and self.state not in ("unreachable", "silent", "unknown")

    def down_in(self, service: str) -> list[str]:
        """The families in which a service is down; none where families are unknown."""
        return [family for family, up in self.families.get(service, {}).items() if not up]

    def serves(self, service: str) -> bool:
        """Whether it serves a service in some family."""
        families = self.families.get(service)
        return any(families.values()) if families else self.services.get(service, False)


UNKNOWN = NodeStatus("unknown", 0, None)
"""A node while no registry answers."""


@dataclass(frozen=True, slots=True)
class PrefixStatus:
    """Which nodes announce a prefix, which should and do not, and which may. Nodes that are drained
    or take an update over are in neither of the last two. ``dark`` is whether the only node that is
    planned to announce it is such a one, or one of ``mesh:without``."""

    announcers: tuple[str, ...]
    not_announcing: tuple[str, ...]
    unknown: tuple[str, ...]
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Discarded:
    """A blackhole ``until`` then (RFC 3339), and the nodes that have not reported it as applied."""

    address: str
    until: str
    seconds_left: int
    reason: str
    forced: bool
    not_obeyed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The whole mesh: what was published last, what the registries hold, and each node's status.

    ``registries`` maps URLs to ``ok`` or the reason why they do not answer. ``answered`` is
    whether any of them does; where none does, ``generation`` is None and every node ``unknown``.
    """

    answered: bool
    generation: int | None
    published: int
    retired: bool
    registries: dict[str, str]
    nodes: dict[str, NodeStatus]
    warnings: tuple[NodeWarning, ...] = ()
    """What nodes report of their peers."""
    unrecorded: int | None = None
    """The generation that the registries hold where it is above the one that the state knows: an
    update did not finish, or the state is an older copy."""
    planned: bool = True
    """Whether the plan, which states what should be up, could be read."""
    prefixes: dict[str, PrefixStatus] = field(default_factory=dict)
    services: dict[str, ServiceStatus] = field(default_factory=dict)
    drain: int = 0
    """The number of the drain order in force, 0 where there is none."""
    drained: tuple[str, ...] = ()
    """The nodes that it drains."""
    blackhole: int = 0
    """The number of the blackhole order in force, 0 where there is none."""
    blackholes: tuple[Discarded, ...] = ()
    hold: int = 0
    """The number of the hold order in force, 0 where there is none."""
    rollout: int = 0
    """The number of the last rollout order, 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Reported:
    """The registries' answers at one moment: ``now``, seconds since the epoch."""

    held: Manifest | None
    drain: DrainOrder | None
    blackhole: BlackholeOrder | None
    reports: Mapping[str, Report]
    registries: Mapping[str, str]
    answered: bool
    now: float
    hold: HoldOrder | None = None
    rollout: RolloutOrder | None = None
    ahead: Mapping[str, float] = field(default_factory=dict)
    """Seconds by which this machine's clock is ahead of a registry's, by its URL."""
    holders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The registries that hold a node's last report, by the node; they are URLs."""

    @property
    def drained(self) -> frozenset[str]:
        """The nodes that are drained by order."""
        return frozenset() if self.drain is None else frozenset(self.drain.nodes)

    @property
    def updating(self) -> frozenset[str]:
        """The nodes that take an update over, by recent reports."""
        return frozenset(
            node
            for node, one in self.reports.items()
            if one.health.updating and is_recent(one, self.now)
        )

    @property
    def apart(self) -> frozenset[str]:
        """The nodes that may announce and serve nothing."""
        return self.drained | self.updating


def look(
    operator_key: str,
    registries: Mapping[str, str],
    fleet: Fleet,
    namespace: str | None,
    plan: Plan | None = None,
) -> MeshStatus:
    """Asks the registries; only signed reports count. ``plan`` is the one in force; without it,
    what should be up is unknown."""
    reported = inside(namespace, lambda: ask(operator_key, registries, fleet))
    return status(reported, fleet, plan)


def ask(operator_key: str, registries: Mapping[str, str], fleet: Fleet) -> Reported:
    """What the registries answer now. Runs in the current network namespace."""
    pool = RegistryPool(operator_key, registries)
    try:
        manifests = pool.manifests()
        highest = top(manifests.values(), fleet.network)
        foreign = {
            node: one.network
            for node, (_, one) in manifests.items()
            if fleet.network not in (None, one.network)
        }
        identities = {node: member.identity for node, member in fleet.members.items()}
        drain, blackhole, hold, rollout = None, None, None, None
        if highest is not None:
            of = (pool, operator_key, highest[1].network, identities)
            drain = Drains(*of, fleet.drain).order()
            blackhole = Blackholes(*of, fleet.blackhole).order()
            hold = Holds(*of).order()
            rollout = Rollouts(*of).order()
        held, full = pool.reports_held(identities), pool.full()
    finally:
        pool.close()
    reports = latest(report for _, report in held)
    return Reported(
        held=None if highest is None else highest[1],
        drain=drain,
        blackhole=blackhole,
        hold=hold,
        rollout=rollout,
        reports=reports,
        registries={
            url: f"holds a generation of the network {foreign[node]}, not of {fleet.network}"
            if node in foreign
            else pool.reasons.get(node, full.get(node, "ok")).removeprefix(f"{url}: ")
            for node, url in sorted(registries.items())
        },
        answered=any(node not in pool.reasons for node in registries),
        now=time.time(),
        ahead=dict(pool.ahead),
        holders={
            node: tuple(sorted({registries[at] for at, one in held if one == report}))
            for node, report in reports.items()
        },
    )


def status(reported: Reported, fleet: Fleet, plan: Plan | None) -> MeshStatus:
    """The status of the mesh by the registries' answers; all unknown where none answers."""
    held = 0 if reported.held is None else reported.held.generation
    found = {} if plan is None else announce_states(plan, reported.reports, reported.now)
    discarded = _discarded(reported, plan, fleet.members) if reported.answered else ()
    recent = {n: one for n, one in reported.reports.items() if is_recent(one, reported.now)}
    gone = {} if plan is None else unreachable(plan, recent, fleet.members, reported.now)
    found = {prefix: _without_unreachable(nodes, gone) for prefix, nodes in found.items()}
    of = {
        node: {prefix: nodes[node] for prefix, nodes in found.items() if node in nodes}
        for node in fleet.members
    }
    return MeshStatus(
        answered=reported.answered,
        generation=held if reported.answered else None,
        published=fleet.generation,
        retired=reported.held is not None and reported.held.retired,
        registries=dict(reported.registries),
        nodes={
            node: replace(
                _but_unreachable(
                    _node(reported, node, held, plan, of[node], fleet.members), gone.get(node)
                )
                if reported.answered
                else UNKNOWN,
                system=fleet.members[node].facts.system,
            )
            for node in sorted(fleet.members)
        },
        warnings=warnings(
            recent,
            held,
            reported.now,
            0 if reported.blackhole is None else reported.blackhole.number,
        ),
        unrecorded=held if held > fleet.generation else None,
        planned=plan is not None,
        prefixes=_prefixes(found, reported, plan) if reported.answered else {},
        services={}
        if plan is None or not reported.answered
        else services(
            plan,
            reported.reports,
            reported.apart | gone.keys(),
            reported.now,
            {one.address for one in discarded},
        ),
        drain=0 if reported.drain is None else reported.drain.number,
        drained=tuple(sorted(reported.drained & fleet.members.keys())),
        blackhole=0 if reported.blackhole is None else reported.blackhole.number,
        blackholes=discarded,
        hold=0 if reported.hold is None else reported.hold.number,
        rollout=0 if reported.rollout is None else reported.rollout.number,
    )


def _without_unreachable(
    nodes: Mapping[str, PrefixAnnouncement], gone: Mapping[str, UnreachableNode]
) -> dict[str, PrefixAnnouncement]:
    """The states of a prefix, unknown for unreachable nodes."""
    return {
        node: PrefixAnnouncement(Announces.UNKNOWN, "it is unreachable") if node in gone else one
        for node, one in nodes.items()
    }


def _but_unreachable(node: NodeStatus, gone: UnreachableNode | None) -> NodeStatus:
    """The status of a node, corrected where its peers have lost it since its last report."""
    if gone is None:
        return node
    when = "" if gone.seconds is None else f", {gone.seconds:.0f} s ago"
    reason = f"all tunnels to it have gone down since, as {', '.join(gone.by)} report{when}"
    return replace(node, state="unreachable", reason=reason, stale=True)


def node_status(
    report: Report | None,
    held: int,
    now: float,
    ordered: bool = False,
    announces: Mapping[Network, PrefixAnnouncement] | None = None,
    due: expected.Expected | None = None,
    awaited: bool = True,
    ahead: Mapping[str, float] | None = None,
) -> NodeStatus:
    """A node's status from its last report; ``now`` is seconds since the epoch, ``ordered`` whether
    the drain order contains it, ``announces`` what it announces, ``due`` what should be up by the
    plan, and ``ahead`` as in :class:`Reported`."""
    states = {str(prefix): one for prefix, one in (announces or {}).items()}
    announced = {prefix: str(one.announces) for prefix, one in states.items()}
    why_not = {prefix: one.why for prefix, one in states.items() if one.why}
    if report is None:
        return NodeStatus(
            state="silent",
            generation=0,
            age=None,
            drain="draining" if ordered else "",
            stale=True,
            awaited=awaited,
            announces=announced,
            why_not=why_not,
        )
    health = report.health
    age = round(max(0.0, seconds_since(report, now)), 1)
    state = _state(report, held, now)
    return NodeStatus(
        state=state,
        generation=report.applied,
        age=age,
        reason=report.reason if seconds_since(report, now) >= -AHEAD_SECONDS else AHEAD,
        in_service=health.in_service,
        services=health.services,
        sessions=health.sessions,
        tls_mismatches=health.tls_mismatches,
        drain="drained" if health.drained else "draining" if ordered else "",
        refused=health.refused,
        stale=state == "silent",
        awaited=awaited,
        bird=health.bird,
        expected=() if due is None else tuple(sorted(due.sessions)),
        down={} if due is None else _down(report, due, now),
        failures=health.failures,
        tunnels=_tunnels(report, due),
        announces=announced,
        why_not=why_not,
        refusals=health.refusals,
        faults=_faults(health),
        held=held_until(report, now),
        repaired=None if health.repairs is None else health.repairs.count,
        repairs=() if health.repairs is None else health.repairs.objects,
        clock=clocks.ahead_of_ours(health, ahead or {}),
        families=by_family(health),
        warnings=health.warnings,
        contents=health.contents,
        units=health.units,
        orders={
            "drain": health.drain,
            "blackhole": health.blackhole,
            "hold": health.hold,
            "rollout": health.rollout,
        },
        update=health.update or "",
        bundle=report.bundle,
    )


def _state(report: Report, held: int, now: float) -> str:
    if not is_recent(report, now):
        return "silent"
    if report.health.updating:
        return "updating"
    if report.generation < held:
        return "waiting" if report.health.update == "waiting" else "behind"
    return report.outcome


def _faults(health: Health) -> dict[str, str]:
    change, found = health.unconfirmed, dict(health.faults or {})
    if change is not None:
        found["unconfirmed"] = (
            f"generation {change.generation} is undone unless somebody logs in anew "
            f"({'; '.join(change.lost)})"
        )
    return found


def _node(
    reported: Reported,
    node: str,
    held: int,
    plan: Plan | None,
    announces: Mapping[Network, PrefixAnnouncement],
    members: Collection[str],
) -> NodeStatus:
    report = reported.reports.get(node)
    due = None
    planned = next((each for each in plan.nodes if each.id == node), None) if plan else None
    if plan is not None and planned is not None and report is not None:
        due = expected.expected(plan, planned, report.health, members)
    awaited = plan is None or node not in plan.without
    ordered = node in reported.drained
    found = node_status(
        report, held, reported.now, ordered, announces, due, awaited, reported.ahead
    )
    return replace(found, reported_to=reported.holders.get(node, ()))


def _down(report: Report, due: expected.Expected, now: float) -> dict[str, SessionDown]:
    found: dict[str, SessionDown] = {}
    for name, state in due.down(report.health).items():
        detail = report.health.down.get(name)
        since = 0 if detail is None else detail.since
        age = max(0.0, round(now - since, 1)) if since else None
        error = "" if detail is None else detail.error
        found[name] = SessionDown(state, explained(due.upstreams.get(name), state, error), age)
    return found


def _tunnels(report: Report, due: expected.Expected | None) -> dict[str, str]:
    """What is wrong with the planned tunnels, by the node's report. A tunnel whose session is
    Established works: agents check interfaces every ten seconds only."""
    faults = report.health.tunnels or {}
    if due is None:
        return dict(faults)
    states = report.health.sessions
    return {
        name: why if name.endswith(due.tunnels[name]) else f"{why} (to {due.tunnels[name]})"
        for name, why in faults.items()
        if name in due.tunnels
        and states.get(expected.tunnel_session(due.tunnels[name])) != expected.UP
    }


def _prefixes(
    found: Mapping[Network, Mapping[str, PrefixAnnouncement]], reported: Reported, plan: Plan | None
) -> dict[str, PrefixStatus]:
    apart = reported.apart | (frozenset() if plan is None else frozenset(plan.without))

    def those(nodes: Mapping[str, PrefixAnnouncement], value: Announces) -> tuple[str, ...]:
        return tuple(n for n, one in nodes.items() if one.announces is value and n not in apart)

    return {
        str(prefix): PrefixStatus(
            tuple(node for node, one in nodes.items() if one.announces is Announces.YES),
            those(nodes, Announces.NO),
            those(nodes, Announces.UNKNOWN),
            dark=len(nodes) == 1 and nodes.keys() <= apart,
        )
        for prefix, nodes in found.items()
    }


def _discarded(
    reported: Reported, plan: Plan | None, members: Collection[str]
) -> tuple[Discarded, ...]:
    order = reported.blackhole
    if order is None:
        return ()
    without = () if plan is None else plan.without
    not_obeyed = tuple(
        node
        for node in sorted(members)
        if node not in without
        and (node not in reported.reports or reported.reports[node].health.blackhole < order.number)
    )
    return tuple(
        Discarded(
            str(entry.address),
            moment(entry.until),
            max(0, round(entry.until - reported.now)),
            entry.reason,
            entry.forced,
            not_obeyed,
        )
        for entry in order.in_force(reported.now)
    )
