"""URNs of the engine: which node a resource belongs to."""

from __future__ import annotations

from collections.abc import Mapping

NODE = "mesh:index:Node"
"""The component of a node, and the parent of what a driver makes for the node alone."""
PREFIX = "mesh-"
"""Of a node's component: ``mesh-<node id>`` (``__main__.py`` names the network ``mesh``)."""


def node_of(urn: str | None) -> str | None:
    """The node whose component that URN is; None where it is another resource's."""
    if not urn:
        return None
    chain, _, name = urn.rpartition("::")
    kind = chain.rpartition("::")[2].rpartition("$")[2]
    return name.removeprefix(PREFIX) if kind == NODE and name.startswith(PREFIX) else None


def owner(urn: str | None, parents: Mapping[str, str | None]) -> str | None:
    """The node that a resource belongs to: the one whose component it is, or stands under."""
    seen: set[str] = set()
    while urn and urn not in seen:
        if (node := node_of(urn)) is not None:
            return node
        seen.add(urn)
        urn = parents.get(urn)
    return None
