"""Which nodes announce a prefix, by their signed reports.

A node announces a prefix when it is in service, its last report is recent, and BIRD exports the
prefix on an Established upstream session of its family. The reports of older agents, without
``Health.announced``, do not contain the exports: there the session has to be Established, and the
node in service.

Drains, regions, the gate, the status and publications all use this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mesh.plan import Network, Node, Plan
from mesh.publish.expected import UP, state_text
from mesh.publish.recent import is_recent, seconds_since
from mesh.publish.served import serving
from mesh.trust.documents import Health, Report

Announcers = Mapping[Network, frozenset[str]]
"""The ids of the nodes that announce each prefix of the plan."""


class Announces(StrEnum):
    """Whether a node announces a prefix."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PrefixAnnouncement:
    """Whether a node announces a prefix, and ``why`` it does not, or why that is unknown."""

    announces: Announces
    why: str = ""


AnnounceStates = Mapping[Network, Mapping[str, PrefixAnnouncement]]
"""By prefix, then by node: of every node that has an upstream of the prefix's family."""


def prefixes(plan: Plan, node: Node) -> tuple[Network, ...]:
    """The prefixes that a node is to announce: of its upstreams' families."""
    families = {session.family for session in node.upstreams}
    return tuple(p for p in plan.announced_by(node.id) if f"ipv{p.version}" in families)


def announce_state(
    node: Node, prefix: Network, report: Report | None, now: float
) -> PrefixAnnouncement:
    """Whether a node announces a prefix, by its last report; ``now`` is seconds since the epoch."""
    names = [each.name for each in node.upstreams if each.family == f"ipv{prefix.version}"]
    if not names:
        return PrefixAnnouncement(Announces.NO, f"it has no IPv{prefix.version} upstream")
    if report is None:
        return PrefixAnnouncement(Announces.UNKNOWN, "no report yet")
    if not is_recent(report, now):
        return PrefixAnnouncement(Announces.UNKNOWN, _outdated(report, now))
    health = report.health
    if health.bird:
        return PrefixAnnouncement(Announces.UNKNOWN, f"its BIRD {health.bird}")
    if not health.in_service:
        return PrefixAnnouncement(Announces.NO, _out_of_service(health))
    if str(prefix) in health.withheld:
        return PrefixAnnouncement(Announces.NO, health.withheld[str(prefix)])
    if not health.sessions:
        return PrefixAnnouncement(Announces.UNKNOWN, "its BIRD reports no session")
    found = [_by_session(health, name, prefix) for name in names]
    return min(
        found, key=lambda one: (Announces.YES, Announces.UNKNOWN, Announces.NO).index(one.announces)
    )


def announce_states(plan: Plan, reports: Mapping[str, Report], now: float) -> AnnounceStates:
    """The state of each prefix at each node that is to announce it, by the nodes' last reports."""
    return {
        each.prefix: {
            node.id: announce_state(node, each.prefix, reports.get(node.id), now)
            for node in plan.nodes
            if node.id in each.nodes
        }
        for each in plan.aggregates
    }


def announcers(
    plan: Plan, reports: Mapping[str, Report], now: float, leaving: Collection[str] = ()
) -> Announcers:
    """The nodes that announce each prefix, by their last reports; ``now`` is seconds since the
    epoch. ``leaving`` are nodes that an order drains, applied or not, or that drain for an update:
    they do not count, and neither does a node whose state is unknown."""
    return {
        prefix: frozenset(
            node
            for node, one in found.items()
            if one.announces is Announces.YES and node not in leaving
        )
        for prefix, found in announce_states(plan, reports, now).items()
    }


def updating(reports: Mapping[str, Report]) -> frozenset[str]:
    """The nodes that take an update over, by their last reports. One that drains for it goes on
    announcing with graceful shutdown for some seconds, and then withdraws."""
    return frozenset(node for node, one in reports.items() if one.health.updating)


def uncertain(
    plan: Plan, reports: Mapping[str, Report], now: float, leaving: Collection[str] = ()
) -> Announcers:
    """The nodes that may announce each prefix: their state is unknown, or an order drains them and
    they still announce."""
    return {
        prefix: frozenset(
            node
            for node, one in found.items()
            if one.announces is Announces.UNKNOWN
            or (one.announces is Announces.YES and node in leaving)
        )
        for prefix, found in announce_states(plan, reports, now).items()
    }


@dataclass(frozen=True, slots=True)
class Loss:
    """A prefix that no node would announce: ``going`` are the nodes to be removed that announce it,
    or may; ``unknown`` are others whose state is unknown. ``only`` is whether no other node is
    planned to announce it."""

    prefix: Network
    going: tuple[str, ...]
    unknown: tuple[tuple[str, str], ...]
    """Node and reason."""
    only: bool = False


def losses(
    found: AnnounceStates, going: Collection[str], drained: Collection[str]
) -> tuple[Loss, ...]:
    """The prefixes that only the nodes in ``going`` announce, or may announce. ``drained`` are
    nodes that an order drains already, or that drain for an update."""
    lost: list[Loss] = []
    for prefix, nodes in found.items():
        others = {n: one for n, one in nodes.items() if n not in going and n not in drained}
        may = [n for n in nodes if n in going and nodes[n].announces is not Announces.NO]
        if may and all(one.announces is not Announces.YES for one in others.values()):
            unknown = [
                (n, one.why) for n, one in others.items() if one.announces is Announces.UNKNOWN
            ]
            only = nodes.keys() <= set(going)
            lost.append(Loss(prefix, tuple(sorted(may)), tuple(sorted(unknown)), only))
    return tuple(lost)


def announced_families(found: Mapping[Network, str]) -> str:
    """What one node announces, for a table: ``v4 v6``, ``v4 only``, ``no``, ``unknown``; ``-`` for
    a node that announces nothing by the plan, and ``2 of 3`` prefixes where those of one family
    differ. ``found`` has :class:`Announces` by prefix."""
    of = {value: _versions(p for p, one in found.items() if one == value) for value in Announces}
    yes, unknown = of[Announces.YES], of[Announces.UNKNOWN]
    if not found:
        return "-"
    if not yes:
        return "unknown" if unknown else "no"
    if _differ(found):
        return f"{sum(one == Announces.YES for one in found.values())} of {len(found)}"
    if unknown:
        return f"{yes}, {unknown} unknown"
    return f"{yes} only" if of[Announces.NO] else yes


def missing(found: Mapping[Network, PrefixAnnouncement]) -> str:
    """What one node does not announce although it should, as text; empty where it announces all."""
    lacks = {prefix: one for prefix, one in found.items() if one.announces is not Announces.YES}
    if not lacks:
        return ""
    reasons = "; ".join(dict.fromkeys(one.why for one in lacks.values()))
    if all(one.announces is Announces.UNKNOWN for one in lacks.values()):
        families = "" if len(lacks) == len(found) else f" {_families(lacks)}"
        return f"unknown whether it announces{families}: {reasons}"
    if len(lacks) == len(found):
        return f"announces nothing: {reasons}"
    if _differ({prefix: one.announces for prefix, one in found.items()}):
        return f"does not announce {', '.join(map(str, lacks))}: {reasons}"
    return f"announces {_families(set(found) - set(lacks))} only: {reasons}"


def _out_of_service(health: Health) -> str:
    """Why a node has withdrawn every prefix (:func:`mesh.agent.reachability.in_service`)."""
    if health.drained:
        return "it is drained"
    if health.updating:
        return "it takes an update over"
    why = (health.faults or {}).get("announce", "")
    if not why and not serving(health):
        why = "it reaches no peer, or none that serves"
        if health.services:
            why = "no service is healthy here or at a node that it reaches"
    return f"it is out of service: {why}" if why else "it is out of service"


def _differ(found: Mapping[Network, str]) -> bool:
    """Whether prefixes of one family differ."""
    return len({(prefix.version, one) for prefix, one in found.items()}) > len(
        {prefix.version for prefix in found}
    )


def _by_session(health: Health, name: str, prefix: Network) -> PrefixAnnouncement:
    state = health.sessions.get(name)
    if state is None:
        return PrefixAnnouncement(Announces.NO, f"it has no session {name}")
    if state != UP:
        return PrefixAnnouncement(Announces.NO, f"{name} is down ({_state(health, name, state)})")
    if health.announced is None:
        return PrefixAnnouncement(Announces.YES)
    if name not in health.announced:
        return PrefixAnnouncement(
            Announces.UNKNOWN, f"its BIRD does not report what it exports on {name}"
        )
    if prefix in health.announced[name]:
        return PrefixAnnouncement(Announces.YES)
    return PrefixAnnouncement(
        Announces.NO, f"{name} is up, and BIRD does not export {prefix} on it"
    )


def _state(health: Health, name: str, state: str) -> str:
    error = health.down[name].error if name in health.down else ""
    return f"{state_text(state)}, {error}" if error else state_text(state)


def _outdated(report: Report, now: float) -> str:
    seconds = seconds_since(report, now)
    if seconds < 0:
        return "its clock is wrong, or its report is forged"
    return f"its last report is {seconds:.0f} s old"


def _versions(found: Iterable[Network]) -> str:
    return " ".join(f"v{version}" for version in sorted({each.version for each in found}))


def _families(found: Iterable[Network]) -> str:
    return " and ".join(f"IPv{version}" for version in sorted({each.version for each in found}))
