"""How the mesh is: the nodes' own signed words, as the registries relay them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from mesh.publish.alarms import Warned, warnings
from mesh.publish.blackhole import Blackholes
from mesh.publish.desk import Desk
from mesh.publish.drain import Drainage
from mesh.publish.namespace import inside
from mesh.publish.order import Fleet
from mesh.trust.documents import Report

SILENT_SECONDS = 90.0
"""A node that has said nothing for so long (three heartbeats) is called silent."""

AHEAD_SECONDS = 300.0
"""How far a node's clock may be ahead of ours. What is said of a later time is no sign of life:
whoever holds a node may have it speak once for all times."""
AHEAD = "its last word is of a time to come: its clock is wrong, or somebody else speaks for it"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node. ``state`` is ``applied``, ``failed``, ``withdrawn``, ``behind`` (its last word is
    about an earlier generation), ``silent``, or ``unknown`` where no registry answers; ``age`` is
    seconds since its last word, by the node's clock. ``drain`` is empty, ``draining`` while it has
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


UNKNOWN = NodeStatus("unknown", 0, None)
"""What is known of a node while no registry answers."""


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
    warnings: tuple[Warned, ...] = ()
    """What nodes hold against each other."""


def look(
    operator_key: str, registries: Mapping[str, str], fleet: Fleet, namespace: str | None
) -> MeshStatus:
    """Asks the registries. Only signed words count; an invented report is not even shown."""

    def ask() -> MeshStatus:
        desk = Desk(operator_key, registries)
        try:
            highest = desk.highest()
            identities = {node: member.identity for node, member in fleet.members.items()}
            order, blackhole = None, None
            if highest is not None:
                of = (desk, operator_key, highest[1].network, identities)
                order = Drainage(*of, fleet.drain).order()
                blackhole = Blackholes(*of, fleet.blackhole).order()
            reports = {report.node: report for report in _by_age(desk.reports(identities))}
        finally:
            desk.close()
        answered = any(node not in desk.reasons for node in registries)
        held = 0 if highest is None else highest[1].generation
        ordered = () if order is None else order.nodes
        now = time.time()
        return MeshStatus(
            answered=answered,
            generation=held if answered else None,
            published=fleet.generation,
            retired=highest is not None and highest[1].retired,
            registries={
                url: desk.reasons.get(node, "ok").removeprefix(f"{url}: ")
                for node, url in sorted(registries.items())
            },
            nodes={
                node: node_status(reports.get(node), held, now, node in ordered)
                if answered
                else UNKNOWN
                for node in sorted(fleet.members)
            },
            warnings=warnings(
                {node: report for node, report in reports.items() if is_recent(report, now)},
                held,
                now,
                0 if blackhole is None else blackhole.number,
            ),
        )

    return inside(namespace, ask)


def is_recent(report: Report, now: float) -> bool:
    """Whether a report is a sign of life; ``now`` is seconds since the epoch."""
    return -AHEAD_SECONDS <= now - report.sequence / 1e6 <= SILENT_SECONDS


def node_status(report: Report | None, held: int, now: float, ordered: bool = False) -> NodeStatus:
    """A node's status from its last report; ``now`` is seconds since the epoch, ``ordered`` whether
    the operator has ordered it to drain."""
    if report is None:
        return NodeStatus("silent", 0, None, drain="draining" if ordered else "")
    age = round(max(0.0, now - report.sequence / 1e6), 1)
    state: str = report.outcome
    if not is_recent(report, now):
        state = "silent"
    elif report.generation < held:
        state = "behind"
    return NodeStatus(
        state=state,
        generation=report.applied,
        age=age,
        reason=report.reason if report.sequence / 1e6 <= now + AHEAD_SECONDS else AHEAD,
        in_service=report.health.in_service,
        services=report.health.services,
        sessions=report.health.sessions,
        tls_mismatches=report.health.tls_mismatches,
        drain="drained" if report.health.drained else "draining" if ordered else "",
        refused=report.health.refused,
    )


def _by_age(reports: list[Report]) -> list[Report]:
    """Oldest first, so that the last word of a node wins over what another registry kept."""
    return sorted(reports, key=lambda report: report.sequence)
