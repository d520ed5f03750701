"""Limit of a network's size: registries take generations up to a size."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.plan import Plan
from mesh.registry import paths
from mesh.spec import Problem

PER_NODE, PER_LINK = 100_000, 20_000
"""Upper bounds of the bytes of a node and of a link in a generation (really about 30,000 and
5,000). Where they suffice, the generation is not made."""
MIB = 1 << 20


def problems(plan: Plan) -> Iterator[Problem]:
    """A problem where a generation of this plan is too large for registries."""
    links = sum(len(node.links) for node in plan.nodes) // 2
    if len(plan.nodes) * PER_NODE + links * PER_LINK < paths.MAX_GENERATION:
        return
    # Imported here, since it is rarely needed.
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
