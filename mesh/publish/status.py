"""How the mesh is: the nodes' own signed words, as the registries relay them."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from mesh.netns import inside
from mesh.plan import Network, Plan
from mesh.publish import clocks, expected
from mesh.publish.alarms import NodeWarning, warnings
from mesh.publish.announcers import (
    Effect,
    Says,
    effects,
)
from mesh.publish.blackhole import Blackholes
from mesh.publish.drain import Drains
from mesh.publish.hold import Holds, held_until
from mesh.publish.order import Fleet
from mesh.publish.order_log import latest
from mesh.publish.recent import AHEAD_SECONDS, is_recent, seconds_since
from mesh.publish.registry_pool import RegistryPool, top
from mesh.publish.unreachable import Unreachable, unreachable
from mesh.trust.documents import (
    BlackholeOrder,
    DrainOrder,
    Health,
    HoldOrder,
    Manifest,
    Refusal,
    Repair,
    Report,
)
from mesh.trust.encoding import moment

AHEAD = "its last word is of a time to come: its clock is wrong, or somebody else speaks for it"


@dataclass(frozen=True, slots=True)
class SessionDown:
    """A session that the plan expects and that is not Established: BIRD's word for its state, or
    ``missing``, and BIRD's last error. ``age`` is seconds since it went down, None where that is
    not known."""

    state: str
    error: str = ""
    age: float | None = None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. ``state`` is ``applied``, ``failed``, ``withdrawn``, ``behind`` (its last word is
    about an earlier generation), ``unreachable`` (all its peers have lost their tunnels to it since
    its last word), ``silent``, or ``unknown`` where no registry answers; ``age`` is seconds since
    its last word, by the node's clock. ``drain`` is empty, ``draining`` while it has
    not said yet that it obeys the order to drain, or ``drained``: it has withdrawn and serves
    nothing."""

    state: str
    generation: int
    age: float | None
    reason: str = ""
    in_service: bool = False
    services: dict[str, bool] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)
    tls_mismatches: tuple[str, ...] = ()
    drain: str = ""
    refused: dict[str, int] = field(default_factory=dict)
    """Routes that it has refused since its agent started, by reason."""
    stale: bool = False
    """Whether all of this is its last word of a while ago, and not how it is now."""
    awaited: bool = True
    """False where the network goes on without it (``mesh:without``)."""
    announces: dict[str, str] = field(default_factory=dict)
    """``yes``, ``no`` or ``unknown`` for each prefix that it is to announce: in effect, by the
    upstream sessions that are Established and what BIRD exports on them."""
    why_not: dict[str, str] = field(default_factory=dict)
    """Why not, or why nobody can tell, by prefix."""
    bird: str | None = None
    """Empty where its BIRD answers, else why it does not; None where an older agent does not
    say."""
    expected: tuple[str, ...] = ()
    """The sessions that are to be up by the plan."""
    down: dict[str, SessionDown] = field(default_factory=dict)
    """Those of them that are not."""
    failures: dict[str, str] = field(default_factory=dict)
    """Why a service is down there."""
    tunnels: dict[str, str] = field(default_factory=dict)
    """What is wrong with a tunnel, by its interface."""
    refusals: tuple[Refusal, ...] = ()
    """Generations and orders of ours that it does not follow."""
    faults: dict[str, str] = field(default_factory=dict)
    """What is wrong with the node itself or its agent: ``disk``, ``registry`` where its port
    was shut to other nodes, a thread that has failed, or ``unconfirmed``, a generation that is
    undone unless somebody logs in anew."""
    held: str = ""
    """When its hold ends (RFC 3339): it repairs and applies nothing until then. Empty where it is
    not held."""
    repaired: int | None = None
    """How much it has put right since its agent started; None where an older agent does not."""
    repairs: tuple[Repair, ...] = ()
    """What that was in the last ten minutes, and what it puts right no more."""
    clock: float | None = None
    """Seconds by which its clock is ahead of this machine's, 0 where they agree; None where nobody
    can tell."""

    @property
    def is_known(self) -> bool:
        """Whether it says how it is now."""
        return not self.stale and self.state not in ("unreachable", "silent", "unknown")


UNKNOWN = NodeStatus("unknown", 0, None)
"""What is known of a node while no registry answers."""


@dataclass(frozen=True, slots=True)
class PrefixStatus:
    """Who announces a prefix in effect, and who is to and does not; of ``unknown`` nobody can
    tell. Drained nodes are in none of the three."""

    announcers: tuple[str, ...]
    not_announcing: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Discarded:
    """An address that the operator has given up ``until`` then (RFC 3339), and the nodes that have
    not said that they obey."""

    address: str
    until: str
    seconds_left: int
    reason: str
    forced: bool
    not_obeyed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """The whole mesh: what was published last, what the registries hold, how each node is.

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
    """What nodes hold against each other."""
    unrecorded: int | None = None
    """The generation that the registries hold where it is above the one that the state knows: an
    update did not finish, or the state is an older copy."""
    planned: bool = True
    """Whether the plan could be read, by which it is known what is to be up."""
    prefixes: dict[str, PrefixStatus] = field(default_factory=dict)
    drain: int = 0
    """The number of the drain order that counts, 0 where there is none."""
    drained: tuple[str, ...] = ()
    """The nodes that it drains."""
    blackhole: int = 0
    """The number of the blackhole order that counts, 0 where there is none."""
    blackholes: tuple[Discarded, ...] = ()
    hold: int = 0
    """The number of the hold order that counts, 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What the registries tell at one moment: ``now``, seconds since the epoch."""

    held: Manifest | None
    drain: DrainOrder | None
    blackhole: BlackholeOrder | None
    reports: Mapping[str, Report]
    registries: Mapping[str, str]
    answered: bool
    now: float
    hold: HoldOrder | None = None
    ahead: Mapping[str, float] = field(default_factory=dict)
    """Seconds by which this machine's clock is ahead of a registry's, by its URL."""

    @property
    def drained(self) -> frozenset[str]:
        """The nodes that are drained by order."""
        return frozenset() if self.drain is None else frozenset(self.drain.nodes)


def look(
    operator_key: str,
    registries: Mapping[str, str],
    fleet: Fleet,
    namespace: str | None,
    plan: Plan | None = None,
) -> MeshStatus:
    """Asks the registries. Only signed words count; an invented report is not even shown. ``plan``
    is the one in force; without it nobody knows what is to be up."""
    told = inside(namespace, lambda: ask(operator_key, registries, fleet))
    return status(told, fleet, plan)


def ask(operator_key: str, registries: Mapping[str, str], fleet: Fleet) -> Reported:
    """What the registries tell now, from here."""
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
        drain, blackhole, hold = None, None, None
        if highest is not None:
            of = (pool, operator_key, highest[1].network, identities)
            drain = Drains(*of, fleet.drain).order()
            blackhole = Blackholes(*of, fleet.blackhole).order()
            hold = Holds(*of).order()
        reports = latest(pool.reports(identities))
    finally:
        pool.close()
    return Reported(
        held=None if highest is None else highest[1],
        drain=drain,
        blackhole=blackhole,
        hold=hold,
        reports=reports,
        registries={
            url: f"holds a generation of the network {foreign[node]}, not of {fleet.network}"
            if node in foreign
            else pool.reasons.get(node, "ok").removeprefix(f"{url}: ")
            for node, url in sorted(registries.items())
        },
        answered=any(node not in pool.reasons for node in registries),
        now=time.time(),
        ahead=dict(pool.ahead),
    )


def status(told: Reported, fleet: Fleet, plan: Plan | None) -> MeshStatus:
    """How the mesh is by what the registries tell; nothing is claimed where none answers."""
    held = 0 if told.held is None else told.held.generation
    found = {} if plan is None else effects(plan, told.reports, told.now)
    gone = {} if plan is None else unreachable(plan, told.reports, fleet.members, told.now)
    found = {prefix: _doubted(nodes, gone) for prefix, nodes in found.items()}
    of = {
        node: {prefix: nodes[node] for prefix, nodes in found.items() if node in nodes}
        for node in fleet.members
    }
    return MeshStatus(
        answered=told.answered,
        generation=held if told.answered else None,
        published=fleet.generation,
        retired=told.held is not None and told.held.retired,
        registries=dict(told.registries),
        nodes={
            node: _but_unreachable(
                _node(told, node, held, plan, of[node], fleet.members), gone.get(node)
            )
            if told.answered
            else UNKNOWN
            for node in sorted(fleet.members)
        },
        warnings=warnings(
            {node: one for node, one in told.reports.items() if is_recent(one, told.now)},
            held,
            told.now,
            0 if told.blackhole is None else told.blackhole.number,
        ),
        unrecorded=held if held > fleet.generation else None,
        planned=plan is not None,
        prefixes=_prefixes(found, told, plan) if told.answered else {},
        drain=0 if told.drain is None else told.drain.number,
        drained=tuple(sorted(told.drained & fleet.members.keys())),
        blackhole=0 if told.blackhole is None else told.blackhole.number,
        blackholes=_discarded(told, plan, fleet.members) if told.answered else (),
        hold=0 if told.hold is None else told.hold.number,
    )


def _doubted(nodes: Mapping[str, Effect], gone: Mapping[str, Unreachable]) -> dict[str, Effect]:
    """What nodes say of a prefix, but for those that may say it no more."""
    return {
        node: Effect(Says.UNKNOWN, "it is unreachable") if node in gone else one
        for node, one in nodes.items()
    }


def _but_unreachable(node: NodeStatus, gone: Unreachable | None) -> NodeStatus:
    """A node whose last word was good, and which is off or cut off by now."""
    if gone is None:
        return node
    when = "" if gone.seconds is None else f", {gone.seconds:.0f} s ago"
    reason = f"all tunnels to it went down since, by the word of {', '.join(gone.by)}{when}"
    return replace(node, state="unreachable", reason=reason, stale=True)


def node_status(
    report: Report | None,
    held: int,
    now: float,
    ordered: bool = False,
    announces: Mapping[Network, Effect] | None = None,
    due: expected.Expected | None = None,
    awaited: bool = True,
    ahead: Mapping[str, float] | None = None,
) -> NodeStatus:
    """A node's status from its last report; ``now`` is seconds since the epoch, ``ordered`` whether
    the operator has ordered it to drain, ``announces`` what it announces in effect, ``due`` what is
    to be up by the plan, and ``ahead`` what registries' clocks say of ours (:class:`Reported`)."""
    told = {str(prefix): one for prefix, one in (announces or {}).items()}
    says = {prefix: str(one.says) for prefix, one in told.items()}
    why_not = {prefix: one.why for prefix, one in told.items() if one.why}
    if report is None:
        return NodeStatus(
            state="silent",
            generation=0,
            age=None,
            drain="draining" if ordered else "",
            stale=True,
            awaited=awaited,
            announces=says,
            why_not=why_not,
        )
    health = report.health
    age = round(max(0.0, seconds_since(report, now)), 1)
    state: str = report.outcome
    if not is_recent(report, now):
        state = "silent"
    elif report.generation < held:
        state = "behind"
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
        announces=says,
        why_not=why_not,
        refusals=health.refusals,
        faults=_faults(health),
        held=held_until(report, now),
        repaired=None if health.repairs is None else health.repairs.count,
        repairs=() if health.repairs is None else health.repairs.objects,
        clock=clocks.ahead_of_ours(health, ahead or {}),
    )


def _faults(health: Health) -> dict[str, str]:
    waits, found = health.unconfirmed, dict(health.faults or {})
    if waits is not None:
        found["unconfirmed"] = (
            f"generation {waits.generation} is undone unless somebody logs in anew "
            f"({'; '.join(waits.lost)})"
        )
    return found


def _node(
    told: Reported,
    node: str,
    held: int,
    plan: Plan | None,
    announces: Mapping[Network, Effect],
    members: Collection[str],
) -> NodeStatus:
    report = told.reports.get(node)
    due = None
    planned = next((each for each in plan.nodes if each.id == node), None) if plan else None
    if plan is not None and planned is not None and report is not None:
        due = expected.expected(plan, planned, report.health, members)
    awaited = plan is None or node not in plan.without
    ordered = node in told.drained
    return node_status(report, held, told.now, ordered, announces, due, awaited, told.ahead)


def _down(report: Report, due: expected.Expected, now: float) -> dict[str, SessionDown]:
    found: dict[str, SessionDown] = {}
    for name, state in due.down(report.health).items():
        told = report.health.down.get(name)
        since = 0 if told is None else told.since
        age = max(0.0, round(now - since, 1)) if since else None
        found[name] = SessionDown(state, "" if told is None else told.error, age)
    return found


def _tunnels(report: Report, due: expected.Expected | None) -> dict[str, str]:
    """What is wrong with the tunnels of the plan, by the node's word on its interfaces. A tunnel
    whose session is Established works: agents look at interfaces every ten seconds only."""
    told = report.health.tunnels or {}
    if due is None:
        return dict(told)
    states = report.health.sessions
    return {
        name: words
        for name, words in told.items()
        if name in due.tunnels
        and states.get(expected.tunnel_session(due.tunnels[name])) != expected.UP
    }


def _prefixes(
    found: Mapping[Network, Mapping[str, Effect]], told: Reported, plan: Plan | None
) -> dict[str, PrefixStatus]:
    apart = told.drained | (frozenset() if plan is None else frozenset(plan.without))

    def those(nodes: Mapping[str, Effect], says: Says) -> tuple[str, ...]:
        return tuple(n for n, one in nodes.items() if one.says is says and n not in apart)

    return {
        str(prefix): PrefixStatus(
            tuple(node for node, one in nodes.items() if one.says is Says.YES),
            those(nodes, Says.NO),
            those(nodes, Says.UNKNOWN),
        )
        for prefix, nodes in found.items()
    }


def _discarded(
    told: Reported, plan: Plan | None, members: Collection[str]
) -> tuple[Discarded, ...]:
    order = told.blackhole
    if order is None:
        return ()
    without = () if plan is None else plan.without
    not_obeyed = tuple(
        node
        for node in sorted(members)
        if node not in without
        and (node not in told.reports or told.reports[node].health.blackhole < order.number)
    )
    return tuple(
        Discarded(
            str(entry.address),
            moment(entry.until),
            max(0, round(entry.until - told.now)),
            entry.reason,
            entry.forced,
            not_obeyed,
        )
        for entry in order.in_force(told.now)
    )
