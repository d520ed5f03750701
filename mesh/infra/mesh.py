"""The whole network as one component."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import ComponentResource, ResourceOptions
from pulumi.runtime import is_dry_run

from mesh.infra import sdk
from mesh.infra.configuration import Configuration
from mesh.infra.dynamic.operator import Operator


@dataclass(frozen=True)
class MeshArgs:
    """The stack's configuration."""

    configuration: Configuration


class Mesh(ComponentResource):
    """Regions with their nodes, the operator's key, and the generation that all nodes run.

    pulumi.RunError where the stack file or the providers refuse it.
    """

    def __init__(self, name: str, args: MeshArgs, opts: ResourceOptions | None = None) -> None:
        given = args.configuration
        if not is_dry_run():
            given.ask()  # a refused update makes nothing, not even this component
        super().__init__("mesh:index:Mesh", name, None, opts)
        self.operator = Operator(
            f"{name}-operator", ResourceOptions(parent=self, protect=given.protect)
        )
        stack = given.stack
        if is_dry_run():
            # A preview makes nothing, and the process of our own resources can start meanwhile.
            sdk.meanwhile(given.ask)
        # Imported here, as all that reads the stack file: after the first registrations.
        from mesh.infra import network

        made = network.make(name, stack, self.operator, ResourceOptions(parent=self))
        self.regions, self.nodes = made.regions, made.nodes
        self.published = made.published
        self.topology, self.access, self.glass = made.topology, made.access, made.glass
        # The topology is a stack output already; twice it would cost every preview twice.
        self.register_outputs({"nodes": list(self.nodes), "registries": made.registries})
