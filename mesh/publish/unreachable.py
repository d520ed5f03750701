"""Nodes that are off or cut off, found by the reports of their peers before they are silent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mesh.plan import Plan
from mesh.publish.expected import UP, expected, tunnel_session
from mesh.publish.recent import is_recent, reported_at
from mesh.trust.documents import Report

SKEW = 2.0
"""Seconds by which the clocks of two nodes may differ, and by which BIRD rounds."""


@dataclass(frozen=True, slots=True)
class UnreachableNode:
    """A node to which no tunnel is up, as the peers ``by`` report; the last one went down
    ``seconds`` ago, None where unknown."""

    by: tuple[str, ...]
    seconds: float | None


def unreachable(
    plan: Plan, reports: Mapping[str, Report], members: Collection[str], now: float
) -> dict[str, UnreachableNode]:
    """The nodes whose peers have all lost the tunnel to them since their own last report, in which
    it was up. ``now`` is seconds since the epoch.

    A running node that has lost its tunnels reports that itself, and is not one of them.
    """
    recent = {node: report for node, report in reports.items() if is_recent(report, now)}
    found: dict[str, UnreachableNode] = {}
    for node in sorted(recent):
        since = dict(_witnesses(plan, recent, node, members))
        if since and all(when is not None for when in since.values()):
            last = max(when for when in since.values() if when is not None)
            found[node] = UnreachableNode(
                tuple(sorted(since)), round(max(0.0, now - last), 1) if last else None
            )
    return found


def _witnesses(
    plan: Plan, recent: Mapping[str, Report], node: str, members: Collection[str]
) -> Iterator[tuple[str, int | None]]:
    """Peers with a tunnel to a node that is up by its own last report, and since when the peer
    reports it down (seconds since the epoch, 0 where unknown); None where it does not."""
    own, mine = recent[node], tunnel_session(node)
    for peer in plan.nodes:
        report = recent.get(peer.id)
        if report is None or peer.id == node or not report.health.sessions or report.health.bird:
            continue
        if mine not in expected(plan, peer, report.health, members).sessions:
            continue
        if own.health.sessions.get(tunnel_session(peer.id)) != UP:
            continue
        down = report.health.down.get(mine)
        since = 0 if down is None else down.since
        is_down = report.health.sessions.get(mine, UP) != UP
        is_newer = (since or reported_at(report)) + SKEW > reported_at(own)
        yield peer.id, since if is_down and is_newer else None
