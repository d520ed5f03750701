"""The way between two nodes: by the plan's costs, and as routes say."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import pairwise

from mesh.glass.answers import Hop, Routes
from mesh.glass.network import Network


def planned(network: Network, start: str, end: str) -> tuple[Hop, ...]:
    """The way of least cost over the tunnels of the plan, from ``start`` on; empty where there is
    none."""
    costs = _costs(network)
    seen: set[str] = set()
    # By cost, then by how many tunnels, then by name: the same way each time.
    waiting: list[tuple[int, int, tuple[str, ...]]] = [(0, 0, (start,))]
    while waiting:
        total, length, way = heapq.heappop(waiting)
        here = way[-1]
        if here == end:
            return _hops(costs, way)
        if here in seen:
            continue
        seen.add(here)
        for peer, cost in costs.get(here, {}).items():
            if peer not in seen:
                heapq.heappush(waiting, (total + cost, length + 1, (*way, peer)))
    return ()


def in_use(network: Network, start: str, end: str, routes: Routes) -> tuple[Hop, ...] | None:
    """The way that the routes of ``start`` to an address of ``end`` say; None where they do not
    lead there over nodes and tunnels of the plan."""
    if start == end:
        return (Hop(node=start, cost=0),)
    used = next((each for each in routes.routes if each.used and each.kind == "tunnel"), None)
    if used is None or not used.nodes or used.nodes[-1] != end:
        return None
    costs = _costs(network)
    way = (start, *used.nodes)
    if any(other not in costs.get(one, {}) for one, other in pairwise(way)):
        return None
    return _hops(costs, way)


def _hops(costs: Mapping[str, Mapping[str, int]], way: tuple[str, ...]) -> tuple[Hop, ...]:
    further = (Hop(node=other, cost=costs[one][other]) for one, other in pairwise(way))
    return (Hop(node=way[0], cost=0), *further)


def _costs(network: Network) -> dict[str, dict[str, int]]:
    """The costs of tunnels by their two ends."""
    found: dict[str, dict[str, int]] = {}
    for link in network.links:
        one, other = link.ends
        found.setdefault(one, {})[other] = link.cost
        found.setdefault(other, {})[one] = link.cost
    return found
