"""A stack's state (``pulumi stack export``), as far as it says what belongs to which node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.preview.kinds import Kind, kind_of
from mesh.preview.steps import node_of


@dataclass(frozen=True, slots=True)
class Deployed:
    """A resource that a node has: under its component, at whatever depth."""

    urn: str
    type: str
    protected: bool

    @property
    def kind(self) -> Kind:
        """What it is to the network."""
        return kind_of(self.type)


def read_state(document: Mapping[str, Any]) -> dict[str, tuple[Deployed, ...]]:
    """The nodes that the state knows, and the resources of each; no secret is looked at."""
    resources = (document.get("deployment") or {}).get("resources") or []
    parents = {each["urn"]: each.get("parent") for each in resources}
    nodes: dict[str, list[Deployed]] = {}
    for each in resources:
        urn: str | None = each["urn"]
        while urn is not None and node_of(urn) is None:
            urn = parents.get(urn)
        node = node_of(urn)
        if node is None:
            continue
        of_node = nodes.setdefault(node, [])
        if each.get("custom") and not each.get("delete"):
            of_node.append(Deployed(each["urn"], each["type"], bool(each.get("protect"))))
    return {node: tuple(nodes[node]) for node in sorted(nodes)}
