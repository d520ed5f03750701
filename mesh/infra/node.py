"""A node: addresses that stay, and a server that may be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import (
    ComponentResource,
    Input,
    Resource,
    ResourceHook,
    ResourceHookBinding,
    ResourceOptions,
)

from mesh.infra.providers import Driver, Machine
from mesh.infra.seed import SeedSource
from mesh.plan import Node as PlannedNode
from mesh.plan import Role


@dataclass(frozen=True)
class NodeArgs:
    """The node as planned, the driver that makes it, and whether its addresses are protected."""

    node: PlannedNode
    driver: Driver
    protect: bool


class Node(ComponentResource):
    """One server of one provider.

    It is made in two steps, because every node's user data has the registries' addresses: the
    constructor reserves the node's own, ``boot`` makes the server once all are reserved.
    """

    def __init__(self, name: str, args: NodeArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("mesh:index:Node", name, None, opts)
        self._name = name
        self._args = args
        # Neighbors and firewalls are configured with this address.
        self.reserved = args.driver.reserve(
            name, args.node, ResourceOptions(parent=self, protect=args.protect)
        )

    @property
    def is_registry(self) -> bool:
        """Whether the node is a registry, which others wait for."""
        return Role.REGISTRY in self._args.node.roles

    def boot(self, seed: SeedSource, after: Sequence[Resource], drain: ResourceHook) -> Machine:
        """Make the server, after these others. A later run ignores a change of what is fixed at its
        creation: a replacement has to be asked for. ``drain`` is called before its deletion."""
        node, driver = self._args.node, self._args.driver
        machine = driver.boot(
            self._name,
            node,
            self.reserved,
            seed.user_data(node.id),
            ResourceOptions(
                parent=self,
                depends_on=list(after),
                ignore_changes=list(driver.fixed_at_creation),
                # The address can be at one server only.
                delete_before_replace=True,
                hooks=ResourceHookBinding(before_delete=[drain]),
            ),
        )
        self._ipv6 = machine.ipv6
        self.register_outputs(
            {"node": node.id, "addresses": self.addresses(), "instance": machine.instance_id}
        )
        return machine

    def addresses(self) -> dict[str, Input[str | None]]:
        """The public addresses of a node that was booted."""
        return {"ipv4": self.reserved.ipv4, "ipv6": self._ipv6}

    def placement(self) -> dict[str, Any]:
        """The addresses of a booted node by its provider; see mesh.facts.Placement."""
        inside, routers = self.reserved.inside, list(self.reserved.routers)
        return {**self.addresses(), "inside": inside, "routers": routers}

    def access(self) -> Mapping[str, Input[str]]:
        """How to reach the node."""
        return self._args.driver.access(self._args.node, self.reserved)
