"""Which nodes examine which during a rollout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.plan.waves import Wave

EACH = 2
"""Other nodes that examine one node: one of them may fail itself."""
MOST = 16
"""Nodes of one wave that one node examines."""


def witnesses(
    plan: Plan, waves: Iterable[Wave], able: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """By node of the waves, the nodes that examine it: some of those with a tunnel to it that do
    not change at the same time, those with the least to do first, and the node itself. ``able`` are
    the nodes whose agents are of a version that can. What a witness sends and sees is Linux's: no
    node with OpenBSD is one."""
    able = {node.id for node in plan.nodes if node.os is OperatingSystem.DEBIAN} & {*able}
    peers = {node.id: [link.peer for link in node.links] for node in plan.nodes}
    found: dict[str, tuple[str, ...]] = {}
    for wave in waves:
        tasks: Counter[str] = Counter()
        for node in wave.nodes:
            others = _free(peers.get(node, ()), wave, able, tasks)
            tasks.update(others)
            by = (*others, node) if node in able else tuple(others)
            if by:
                found[node] = by
    return found


def _free(
    peers: Iterable[str], wave: Wave, able: Collection[str], tasks: Mapping[str, int]
) -> list[str]:
    fit = [
        peer
        for peer in peers
        if peer in able and peer not in wave.nodes and tasks.get(peer, 0) < MOST
    ]
    return sorted(fit, key=lambda peer: (tasks.get(peer, 0), peer))[:EACH]
