"""Nodes that are off or cut off, found by the reports of their peers before they are silent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mesh.plan import Node, Plan
from mesh.publish.expected import UP, tunnel_session
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
    plan: Plan,
    reports: Mapping[str, Report],
    members: Collection[str],
    now: float,
    unheard: Collection[str] = (),
) -> dict[str, UnreachableNode]:
    """The nodes whose peers have all lost the tunnel to them since their own last report, in which
    it was up. ``now`` is seconds since the epoch. The word of nodes ``unheard`` does not count, and
    that of unreachable nodes does not either: a region can go down as a whole.

    A running node that has lost its tunnels reports that itself, and is not one of them.
    """
    nodes = {node.id: node for node in plan.nodes if node.id in members}
    heard = nodes.keys() - set(plan.without) - set(unheard)
    told = {
        name: dict(_witnesses(node, reports, heard, now))
        for name, node in sorted(nodes.items())
        if name not in plan.without
    }
    found = [n for n, since in told.items() if any(when is not None for when in since.values())]
    while True:
        judged = {
            name: _judged({who: when for who, when in told[name].items() if who not in found}, now)
            for name in found
        }
        left = [name for name in found if judged[name] is not None]
        if left == found:
            return {name: one for name, one in judged.items() if one is not None}
        found = left


def _judged(since: Mapping[str, int | None], now: float) -> UnreachableNode | None:
    """A node by the word of others: since when each reports its tunnel to it down, None where it is
    up. None where one reaches it, or nobody says anything."""
    down = [when for when in since.values() if when is not None]
    if not down or len(down) < len(since):
        return None
    last = max(down)
    return UnreachableNode(tuple(sorted(since)), round(max(0.0, now - last), 1) if last else None)


def _witnesses(
    node: Node, reports: Mapping[str, Report], peers: Collection[str], now: float
) -> Iterator[tuple[str, int | None]]:
    """Peers with a tunnel to a node that is up by its own last report, and since when the peer
    reports it down (seconds since the epoch, 0 where unknown); None where it does not."""
    own, mine = reports.get(node.id), tunnel_session(node.id)
    if own is None:
        return
    for peer in sorted({link.peer for link in node.links}.intersection(peers)):
        report = reports.get(peer)
        if report is None or not is_recent(report, now):
            continue
        if not report.health.sessions or report.health.bird:
            continue
        if own.health.sessions.get(tunnel_session(peer)) != UP:
            continue
        down = report.health.down.get(mine)
        since = 0 if down is None else down.since
        is_down = report.health.sessions.get(mine, UP) != UP
        is_newer = (since or reported_at(report)) + SKEW > reported_at(own)
        yield peer, since if is_down and is_newer else None
