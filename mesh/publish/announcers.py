"""Who announces a prefix in effect, by the nodes' own signed words.

A node announces a prefix when it is in service, its last word is recent, and an upstream session
of the prefix's family is Established on which BIRD exports the prefix. That a node was told to
announce is not enough: where its upstream does not hear it, no client reaches it.

The report of an agent from before there was ``Health.announced`` does not say what is exported:
there the session has to be Established, and the node in service.

Everything that asks who announces asks here: drains, regions, the gate, the status, publications.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from mesh.plan import Network, Node, Plan
from mesh.publish.expected import UP, state_in_words
from mesh.publish.recent import is_recent, seconds_since
from mesh.trust.documents import Health, Report

Announcers = Mapping[Network, frozenset[str]]
"""The ids of the nodes that announce each prefix of the plan."""


class Says(StrEnum):
    """Whether a node announces a prefix."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Effect:
    """Whether a node announces a prefix, and ``why`` it does not, or why nobody can tell."""

    says: Says
    why: str = ""


Effects = Mapping[Network, Mapping[str, Effect]]
"""By prefix, then by node: of every node that has an upstream of the prefix's family."""


def prefixes(plan: Plan, node: Node) -> tuple[Network, ...]:
    """The prefixes that a node is to announce: those of its upstreams' families."""
    families = {session.family for session in node.upstreams}
    return tuple(each for each in plan.prefixes.both() if f"ipv{each.version}" in families)


def effect(node: Node, prefix: Network, report: Report | None, now: float) -> Effect:
    """Whether a node announces a prefix, by its last report; ``now`` is seconds since the epoch."""
    names = [each.name for each in node.upstreams if each.family == f"ipv{prefix.version}"]
    if not names:
        return Effect(Says.NO, f"it has no IPv{prefix.version} upstream")
    if report is None:
        return Effect(Says.UNKNOWN, "it has said nothing yet")
    if not is_recent(report, now):
        return Effect(Says.UNKNOWN, _silent(report, now))
    health = report.health
    if health.bird:
        return Effect(Says.UNKNOWN, f"its BIRD {health.bird}")
    if not health.in_service:
        return Effect(Says.NO, "it is drained" if health.drained else "it is out of service")
    if not health.sessions:
        return Effect(Says.UNKNOWN, "its BIRD tells of no session")
    found = [_by_session(health, name, prefix) for name in names]
    return min(found, key=lambda one: (Says.YES, Says.UNKNOWN, Says.NO).index(one.says))


def effects(plan: Plan, reports: Mapping[str, Report], now: float) -> Effects:
    """What the last report of each node says of each prefix that it is to announce."""
    return {
        prefix: {
            node.id: effect(node, prefix, reports.get(node.id), now)
            for node in plan.nodes
            if prefix in prefixes(plan, node)
        }
        for prefix in plan.prefixes.both()
    }


def announcers(
    plan: Plan, reports: Mapping[str, Report], now: float, leaving: Collection[str] = ()
) -> Announcers:
    """The nodes that announce each prefix, by their last reports; ``now`` is seconds since the
    epoch. ``leaving`` are nodes that an order drains, whether they have obeyed yet or not: they do
    not count, and neither does a node of which nobody can tell."""
    return {
        prefix: frozenset(
            node for node, one in found.items() if one.says is Says.YES and node not in leaving
        )
        for prefix, found in effects(plan, reports, now).items()
    }


def doubtful(
    plan: Plan, reports: Mapping[str, Report], now: float, leaving: Collection[str] = ()
) -> Announcers:
    """The nodes that may announce each prefix, and are not to be counted on: nobody can tell, or an
    order drains them and they announce still. In neither :func:`announcers` nor here are those that
    do not announce."""
    return {
        prefix: frozenset(
            node
            for node, one in found.items()
            if one.says is Says.UNKNOWN or (one.says is Says.YES and node in leaving)
        )
        for prefix, found in effects(plan, reports, now).items()
    }


@dataclass(frozen=True, slots=True)
class Loss:
    """A prefix that nobody would announce: ``going`` are those of the nodes that go which announce
    it, or may; ``unknown`` are others of which nobody can tell, and which are not counted on."""

    prefix: Network
    going: tuple[str, ...]
    unknown: tuple[tuple[str, str], ...]
    """Node and reason."""


def losses(found: Effects, going: Collection[str], drained: Collection[str]) -> tuple[Loss, ...]:
    """The prefixes that are announced, or may be, by nodes that go, and by no other for sure.
    ``drained`` are nodes that an order drains already."""
    lost: list[Loss] = []
    for prefix, nodes in found.items():
        others = {n: one for n, one in nodes.items() if n not in going and n not in drained}
        may = [n for n in nodes if n in going and nodes[n].says is not Says.NO]
        if may and all(one.says is not Says.YES for one in others.values()):
            unknown = [(n, one.why) for n, one in others.items() if one.says is Says.UNKNOWN]
            lost.append(Loss(prefix, tuple(sorted(may)), tuple(sorted(unknown))))
    return tuple(lost)


def in_words(found: Mapping[Network, str]) -> str:
    """What one node announces, for a table: ``v4 v6``, ``v4 only``, ``no``, ``unknown``; ``-`` for
    a node without upstreams. ``found`` has what it says (:class:`Says`) of each prefix that it is
    to announce."""
    of = {says: _versions(p for p, one in found.items() if one == says) for says in Says}
    yes, unknown = of[Says.YES], of[Says.UNKNOWN]
    if not found:
        return "-"
    if not yes:
        return "unknown" if unknown else "no"
    if unknown:
        return f"{yes}, {unknown} unknown"
    return f"{yes} only" if of[Says.NO] else yes


def missing(found: Mapping[Network, Effect]) -> str:
    """What one node does not announce although it is to, in an operator's words; empty where it
    announces all."""
    lacks = {prefix: one for prefix, one in found.items() if one.says is not Says.YES}
    if not lacks:
        return ""
    reasons = "; ".join(dict.fromkeys(one.why for one in lacks.values()))
    if all(one.says is Says.UNKNOWN for one in lacks.values()):
        families = "" if len(lacks) == len(found) else f" {_families(lacks)}"
        return f"nobody knows whether it announces{families}: {reasons}"
    if len(lacks) == len(found):
        return f"announces nothing: {reasons}"
    return f"announces {_families(set(found) - set(lacks))} only: {reasons}"


def _by_session(health: Health, name: str, prefix: Network) -> Effect:
    state = health.sessions.get(name)
    if state is None:
        return Effect(Says.NO, f"it has no session {name}")
    if state != UP:
        return Effect(Says.NO, f"{name} is down ({_state(health, name, state)})")
    if health.announced is None:
        return Effect(Says.YES)
    if name not in health.announced:
        return Effect(Says.UNKNOWN, f"its BIRD does not say what it exports on {name}")
    if prefix in health.announced[name]:
        return Effect(Says.YES)
    return Effect(Says.NO, f"{name} is up, and BIRD does not export {prefix} on it")


def _state(health: Health, name: str, state: str) -> str:
    error = health.down[name].error if name in health.down else ""
    return f"{state_in_words(state)}, {error}" if error else state_in_words(state)


def _silent(report: Report, now: float) -> str:
    seconds = seconds_since(report, now)
    if seconds < 0:
        return "its clock is wrong, or somebody else speaks for it"
    return f"its last word is {seconds:.0f} s old"


def _versions(found: Iterable[Network]) -> str:
    return " ".join(f"v{version}" for version in sorted({each.version for each in found}))


def _families(found: Iterable[Network]) -> str:
    return " and ".join(f"IPv{version}" for version in sorted({each.version for each in found}))
