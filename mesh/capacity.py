"""How many nodes a network may have: as many as registries take a generation of."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.plan import Plan
from mesh.registry import paths
from mesh.spec import Problem

PER_NODE, PER_LINK = 100_000, 20_000
"""Bytes of a generation, above what it has of any node and any link (some 30,000 and 5,000). What
is small enough by these is not made to see."""
MIB = 1 << 20


def problems(plan: Plan) -> Iterator[Problem]:
    """That no registry would take a generation of this plan."""
    links = sum(len(node.links) for node in plan.nodes) // 2
    if len(plan.nodes) * PER_NODE + links * PER_LINK < paths.MAX_GENERATION:
        return
    # Imported here: nearly no network is large.
    from mesh.publish.size import at_most

    size = at_most(plan, paths.MAX_GENERATION)
    if size > paths.MAX_GENERATION:
        yield Problem(
            "mesh:nodes",
            f"{len(plan.nodes)} nodes",
            f"a generation of them has about {size / MIB:,.1f} MiB, and registries take "
            f"{paths.MAX_GENERATION / MIB:g} MiB",
            "leave nodes out, or make two networks of them",
        )
