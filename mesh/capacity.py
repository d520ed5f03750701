"""How many nodes a network may have: as many as registries take a generation of."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.plan import Plan
from mesh.spec import Problem

SMALL = 100_000
"""Nodes times nodes and links: each node is told of all of them, in some 300 bytes each. Below this
no generation comes near what registries take, and none is made to see."""
MIB = 1 << 20


def problems(plan: Plan) -> Iterator[Problem]:
    """That no registry would take a generation of this plan."""
    ends = sum(len(node.links) for node in plan.nodes)
    if len(plan.nodes) * (len(plan.nodes) + ends // 2) < SMALL:
        return
    # Imported here: nearly no network is large.
    from mesh.discovery.paths import MAX_GENERATION
    from mesh.publish.size import at_most

    size = at_most(plan, MAX_GENERATION)
    if size > MAX_GENERATION:
        yield Problem(
            "mesh:nodes",
            f"{len(plan.nodes)} nodes",
            f"a generation of them has about {size / MIB:,.1f} MiB, and registries take "
            f"{MAX_GENERATION / MIB:g} MiB, for each node is told of all nodes and links",
            "leave nodes out, or make two networks of them",
        )
