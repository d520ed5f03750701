"""A region of AWS with its nodes, and the names and tags of what is made there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pulumi import ResourceOptions

from mesh.plan import Node, Plan


@dataclass(frozen=True)
class Site:
    """One region of AWS. What its nodes share is named after ``name`` and made with ``opts``."""

    name: str
    place: str
    plan: Plan
    nodes: tuple[Node, ...]
    opts: ResourceOptions

    def tags(self, name: str, node: str | None = None) -> dict[str, str]:
        """The tags of a resource: its name, the stack, and the node if it belongs to one."""
        own = {} if node is None else {"node": node}
        return {"Name": name, "stack": self.plan.stack, **own}

    def own(self, **options: Any) -> ResourceOptions:
        """The options of what all nodes share, merged with these."""
        return ResourceOptions.merge(self.opts, ResourceOptions(**options))
