"""Sessions and announcements of the whole mesh, by the reports of its nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mesh.plan import Plan
from mesh.publish.announcers import Announces, announce_state, missing, prefixes
from mesh.publish.expected import MISSING, UP, expected
from mesh.publish.recent import reported_at
from mesh.trust.documents import Report


@dataclass(frozen=True, slots=True)
class MeshHealth:
    """Sessions and edges of the nodes that are waited for; ``down`` lists what is missing. An edge
    counts as announcing when it announces all prefixes of its upstreams' families."""

    sessions: int
    up: int
    edges: int
    announcing: int
    down: tuple[str, ...]


def health(plan: Plan, reports: Mapping[str, Report], drained: Collection[str] = ()) -> MeshHealth:
    """The mesh by its nodes' last reports. Sessions with nodes of ``mesh:without`` are not expected
    to be up, and drained nodes are not expected to announce."""
    sessions = up = edges = announcing = 0
    down: list[str] = []
    for node in plan.nodes:
        if node.id in plan.without or node.id not in reports:
            continue
        report = reports[node.id]
        own = report.health
        due = expected(plan, node, own, reports.keys())
        states = due.states(own)
        lacks = [
            f"{name} is missing" if s == MISSING else name for name, s in due.down(own).items()
        ]
        sessions += len(due.sessions)
        up += sum(state == UP for state in states.values())
        # Reports on this generation contain its nonce: they are recent, even if the clock is wrong.
        now = reported_at(report)
        found = {each: announce_state(node, each, report, now) for each in prefixes(plan, node)}
        if found and node.id not in drained:
            edges += 1
            announcing += all(one.announces is Announces.YES for one in found.values())
            lacks += [lack] if (lack := missing(found)) else []
        if not states:
            lacks.append("its sessions are unknown")
        if lacks:
            down.append(f"{node.id}: {', '.join(lacks)}")
    return MeshHealth(sessions, up, edges, announcing, tuple(down))
