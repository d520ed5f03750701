"""Toy's driver: an address and a server for each node, behind a rule for each opening."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mesh.infra.providers.description import Description, EnginePlugin
from mesh.infra.providers.inputs import TCP, Inputs, given, is_one_of, known, port_range, strings
from mesh.infra.providers.openings import openings
from mesh.infra.providers.protocol import Machine, Reserved, StackConfiguration
from mesh.infra.providers.resources import PortRange, ResourceKind, ResourceType

if TYPE_CHECKING:
    from pulumi import Input, Output, ResourceOptions
    from pulumi_toy import Address

    from mesh.plan import Node
    from mesh.spec import Problem


def _lets_in(rule: Inputs) -> Iterator[tuple[str, PortRange]]:
    if is_one_of(known(rule, "protocol"), TCP):
        for network in strings(known(rule, "networks")):
            yield network, port_range(known(rule, "ports") or "", "-")


DESCRIPTION = Description(
    driver="mesh.infra.providers.toy:Toy",
    resources={
        "toy:index:Address": ResourceType(ResourceKind.ADDRESS, protected=True, reserved=True),
        "toy:index:Rule": ResourceType(ResourceKind.FIREWALL, lets_in=_lets_in),
        "toy:index:Server": ResourceType(
            ResourceKind.SERVER, quiet=frozenset({"labels"}), tags="labels", has_ipv6=given("ipv6")
        ),
    },
    plugin=EnginePlugin("pulumi-toy"),
)


class Toy:
    """Nodes at Toy."""

    fixed_at_creation = ("user_data",)
    namespace: str | None = None
    publish_deadline = 600.0

    def __init__(self, name: str, configuration: StackConfiguration, opts: ResourceOptions) -> None:
        self._name, self._plan, self._opts = name, configuration.plan, opts
        self._addresses: dict[str, Address] = {}

    @staticmethod
    def problems(_configuration: StackConfiguration) -> Iterator[Problem]:
        """Nothing: Toy has servers of every size, and no account."""
        yield from ()

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """An address that outlives its server."""
        from pulumi_toy import Address

        address = Address(f"{name}-address", place=node.place, opts=opts)
        self._addresses[node.id] = address
        return Reserved(address.ipv4)

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
        """A rule for each opening: from a node's address, or from networks."""
        from pulumi_toy import Rule

        own = [node for node in self._plan.nodes if node.id in self._addresses]
        for opening in openings(self._plan, own):
            networks: list[Input[str]] = [str(network) for network in opening.networks]
            if opening.node is not None:
                networks = [addresses[opening.node].apply("{}/32".format)]
            Rule(
                f"{self._name}-{opening.name}",
                protocol=opening.protocol,
                ports="{}-{}".format(*opening.ports) if opening.ports else None,
                networks=networks,
                opts=self._opts,
            )

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """A server on the node's address."""
        from pulumi_toy import Server

        server = Server(
            f"{name}-instance",
            place=node.place,
            size=node.size,
            address=self._addresses[node.id].id,
            ipv6=node.ipv6,
            labels={"mesh-node": node.id},
            user_data=user_data,
            opts=opts,
        )
        return Machine(server, server.id, server.created, server.main_ipv6)

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH, from the operator's networks."""
        return {"ssh": reserved.ipv4.apply("ssh root@{}".format)}
