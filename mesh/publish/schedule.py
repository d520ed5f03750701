"""How a signed generation is to go out: in which waves, and what there is to go back to."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mesh.facts import Facts
from mesh.plan import Network, Node, Plan
from mesh.plan.waves import Touch, Wave, only_announcers, waves
from mesh.publish.announcers import Announces, PrefixAnnouncement, announce_states
from mesh.publish.away import Absence, away
from mesh.publish.choices import Choices
from mesh.publish.generation import SignedGeneration
from mesh.publish.held import HeldGeneration
from mesh.publish.order import Order, PublishError
from mesh.publish.touched import touched
from mesh.registry.in_force import most_in_force
from mesh.trust.documents import Report

ANEW_SECONDS = 15
"""Seconds within which a BGP session that starts anew is up again, and the node has seen it
(:data:`mesh.agent.apply.SETTLE_SECONDS`)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The waves of one generation, with what it ``touches`` at the nodes that take part.

    ``outages`` are the prefixes that nobody announces for a moment, by the node that is their only
    announcer. ``before`` are the last reports before it was published, ``away`` the nodes that are
    off or cut off. ``former`` is what most nodes have in force; None where no registry has it.
    Nodes that are ``apart`` have something else in force, as after an update that was killed.
    """

    waves: tuple[Wave, ...]
    outages: Mapping[str, tuple[Network, ...]]
    touches: Mapping[str, Touch]
    before: Mapping[str, Report]
    away: Absence
    former: HeldGeneration | None
    apart: frozenset[str]


def scheduled(
    order: Order,
    made: SignedGeneration,
    facts: Mapping[str, Facts],
    reports: Mapping[str, Report],
    held: Mapping[int, HeldGeneration],
    new: Collection[str],
) -> Schedule:
    """The schedule of a generation for nodes with these last ``reports``; ``held`` are generations
    by number, and ``new`` the nodes that no publication has reached yet."""
    unheard = order.unheard
    touches = touched(order, made, reports.values(), held, new)
    joining = {node for node, touch in touches.items() if touch.joins}
    gone = away(order.plan, reports, touches.keys() - joining - unheard)
    part = {
        node: touch
        for node, touch in sorted(touches.items())
        if node not in gone and node not in unheard
    }
    kinds = {node.id: _kind(node, facts) for node in order.plan.nodes if node.id in touches}
    former = most_in_force(reports.values())
    plan = _announced_now(order.plan, reports)
    return Schedule(
        waves(plan, part, kinds),
        only_announcers(plan, part),
        part,
        dict(reports),
        Absence(gone, _first(waves(plan, _beside(part, touches, gone), kinds))),
        _of_network(held, former, made),
        _apart(made.manifest.nodes, reports, held, former),
    )


def _beside(
    part: Iterable[str], touches: Mapping[str, Touch], gone: Iterable[str]
) -> dict[str, Touch]:
    """What nodes that are away have yet to change, beside those that have the generation by
    then."""
    return dict.fromkeys(part, Touch(changed=False)) | {node: touches[node] for node in gone}


def _first(found: Sequence[Wave]) -> Wave:
    return found[0] if found else Wave((), frozenset(), "")


def _apart(
    nodes: Iterable[str],
    reports: Mapping[str, Report],
    held: Mapping[int, HeldGeneration],
    former: int,
) -> frozenset[str]:
    """The nodes whose content in force is not known to be that of the generation ``former``. Those
    without any are not among them."""

    def content(number: int, node: str) -> tuple[str, str] | None:
        entry = held[number].manifest.nodes.get(node) if number in held else None
        return None if entry is None else (entry.part_sha256, held[number].manifest.bundle)

    having = {node: reports[node].applied for node in nodes if node in reports}
    return frozenset(
        node
        for node, number in having.items()
        if number not in (0, former)
        and (content(number, node) is None or content(number, node) != content(former, node))
    )


def _announced_now(plan: Plan, reports: Mapping[str, Report]) -> Plan:
    """The plan without the announcements that nodes report not to make: a drained node stands in
    for no other."""
    states = announce_states(plan, reports, time.time())
    aggregates = tuple(
        replace(each, nodes=tuple(n for n in each.nodes if _may_announce(states[each.prefix], n)))
        for each in plan.aggregates
    )
    return replace(plan, aggregates=aggregates)


def _may_announce(states: Mapping[str, PrefixAnnouncement], node: str) -> bool:
    return node not in states or states[node].announces is not Announces.NO


def _of_network(
    held: Mapping[int, HeldGeneration], number: int, made: SignedGeneration
) -> HeldGeneration | None:
    found = held.get(number)
    return found if found and found.manifest.network == made.manifest.network else None


def _kind(node: Node, facts: Mapping[str, Facts]) -> str:
    """Provider, operating system and BIRD series."""
    own = facts.get(node.id)
    if own is None:
        return node.provider
    release, series = own.release.partition(".")[0], ".".join(own.bird.split(".")[:2])
    return f"{node.provider} {own.os} {release} {series}"


def refuse_outages(plan: Plan, schedule: Schedule, choices: Choices) -> None:
    """Raises PublishError where a prefix is announced nowhere for a moment: its only announcer
    starts its sessions anew."""
    if choices.accept_outage:
        return
    lines = [
        f"{node}: {_change(plan, node, schedule.touches[node])}, and no other node announces "
        f"{', '.join(map(str, prefixes))}: unreachable for up to {ANEW_SECONDS} s"
        for node, prefixes in schedule.outages.items()
    ]
    if lines:
        raise PublishError(
            f"{'; '.join(lines)}; announce it at another node as well, or accept that: mesh "
            f"rollout --accept-outage"
        )


def _change(plan: Plan, node: str, touch: Touch) -> str:
    own = {session.name for session in plan.node(node).upstreams}
    names = ", ".join(sorted(own & touch.restarts if touch.sure else own))
    return f"{names} {'start' if touch.sure else 'perhaps start'} anew"
