"""The lab's driver: every planned node, of whatever provider, as a system container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pulumi import Input, Output, ResourceOptions

from mesh.infra.dynamic.lab import (
    FIXED_AT_CREATION,
    LabAddress,
    LabInstance,
    LabInstanceArgs,
    LabWorld,
)
from mesh.infra.providers.protocol import Machine, Reserved, StackConfiguration
from mesh.lab.lab_files import files_of
from mesh.plan import Node
from mesh.plan.document import write_plan
from mesh.spec import Problem

IMAGE = "debian-13"


class Lab:
    """Nodes on this machine, in the lab that ``MESH_LAB`` names."""

    fixed_at_creation = FIXED_AT_CREATION
    publish_deadline = 180.0

    def __init__(self, name: str, configuration: StackConfiguration, opts: ResourceOptions) -> None:
        self._plan = configuration.plan
        self._addresses6: dict[str, Output[str | None]] = {}
        here = files_of()
        self._lab = here.lab
        self.namespace: str | None = here.namespace("operator")
        self._world = LabWorld(
            f"{name}-world", here.lab, write_plan(configuration.plan), configuration.passwords, opts
        )

    @staticmethod
    def problems(configuration: StackConfiguration) -> Iterator[Problem]:
        """None: what this machine lacks shows when the world is made."""
        yield from ()

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
        """Nothing: the lab has the nodes' own firewalls only."""

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """The addresses that the world has for the node."""
        address = LabAddress(
            f"{name}-address", self._lab, node.id, node.slot, node.ipv6, self._inside(opts)
        )
        self._addresses6[node.id] = address.ipv6
        if not node.translated:
            return Reserved(address.ipv4)
        routers = [address.routers[number] for number in range(len(node.vpc))]
        return Reserved(address.ipv4, address.inside, routers)

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """A Debian 13 container, booted by cloud-init."""
        args = LabInstanceArgs(
            lab=self._lab,
            node=node.id,
            region=node.region,
            image=IMAGE,
            hostname=node.id,
            ssh_keys=self._plan.access.ssh_keys,
            user_data=user_data,
            ipv4=reserved.ipv4,
            ipv6=self._addresses6[node.id],
        )
        instance = LabInstance(f"{name}-instance", args, self._inside(opts))
        return Machine(instance, instance.instance_id, instance.created, self._addresses6[node.id])

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """A shell in the container; SSH works from the operator's box only."""
        return {
            "shell": f"mesh lab exec {node.id} -- bash",
            "ssh": Output.concat("ssh root@", reserved.ipv4),
        }

    def _inside(self, opts: ResourceOptions) -> ResourceOptions:
        """The world is made first, and deleted last."""
        return ResourceOptions.merge(opts, ResourceOptions(depends_on=[self._world]))
