"""A region: the nodes of one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pulumi import ComponentResource, ResourceOptions

from mesh.infra import providers
from mesh.infra.node import Node, NodeArgs
from mesh.plan import Region as PlannedRegion


@dataclass(frozen=True)
class RegionArgs:
    """The region as planned, the stack's configuration, and the drivers of its nodes by name."""

    region: PlannedRegion
    configuration: providers.StackConfiguration
    drivers: Mapping[str, providers.Driver]


class Region(ComponentResource):
    """The nodes of one place, by their ids."""

    def __init__(self, name: str, args: RegionArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mesh:index:Region", name, None, opts)
        plan, protect = args.configuration.plan, args.configuration.spec.protect
        self.nodes = {
            node.id: Node(
                f"{name}-{node.id.removeprefix(args.region.id + '-')}",
                NodeArgs(node, args.drivers[providers.driver_name(plan, node)], protect),
                ResourceOptions(parent=self),
            )
            for node in plan.nodes
            if node.region == args.region.id
        }
        self.register_outputs({"name": args.region.name, "nodes": list(self.nodes)})
