"""A stack's state (``pulumi stack export``): which resource belongs to which node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mesh.infra.urns import owner
from mesh.preview.kinds import PROVIDERS, ResourceKind, kind_of


@dataclass(frozen=True, slots=True)
class Deployed:
    """A resource of a node: under its component, at any depth."""

    urn: str
    type: str
    protected: bool

    @property
    def kind(self) -> ResourceKind:
        """What it is to the network."""
        return kind_of(self.type)


def made(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The resources of the state that a provider made, of nodes or not."""
    return [
        each
        for each in (document.get("deployment") or {}).get("resources") or []
        if each.get("custom") and not each["type"].startswith(PROVIDERS)
    ]


def read_state(document: Mapping[str, Any]) -> dict[str, tuple[Deployed, ...]]:
    """The nodes in the state, and the resources of each; no secret is read."""
    resources = (document.get("deployment") or {}).get("resources") or []
    parents = {each["urn"]: each.get("parent") for each in resources}
    nodes: dict[str, list[Deployed]] = {}
    for each in resources:
        node = owner(each["urn"], parents)
        if node is None:
            continue
        of_node = nodes.setdefault(node, [])
        if each.get("custom") and not each.get("delete"):
            of_node.append(Deployed(each["urn"], each["type"], bool(each.get("protect"))))
    return {node: tuple(nodes[node]) for node in sorted(nodes)}
