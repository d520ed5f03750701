"""Makes servers by resources of our own on Vultr's v2 API (:mod:`mesh.infra.dynamic.vultr`).

Each has the plugin's type as an alias: in a stack that the plugin has made, the engine passes the
plugin's resource to ours, which refuses to replace it (:mod:`mesh.infra.dynamic.vultr.former`).
Without the alias it would be a new resource, and the engine would delete the old one.
"""

from __future__ import annotations

from collections.abc import Sequence

from pulumi import Alias, Input, Output, Resource, ResourceOptions

from mesh.infra.dynamic.identity import Identity
from mesh.infra.dynamic.vultr.address import Address
from mesh.infra.dynamic.vultr.bare_metal import BareMetal
from mesh.infra.dynamic.vultr.firewall import Firewall, RuleArgs
from mesh.infra.dynamic.vultr.instance import Instance, InstanceArgs
from mesh.infra.dynamic.vultr.key import Key
from mesh.infra.dynamic.vultr.reverse import Reverse
from mesh.infra.dynamic.vultr.servers import ServerArgs
from mesh.infra.dynamic.vultr.startup_script import StartupScript
from mesh.infra.providers.vultr.maker import (
    CreatedServer,
    FirewallInput,
    ReservedAddress,
    ServerInput,
)
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node


class Api:
    """Resources of our own, each with the mark of the network's identity. ``startup_script`` is the
    one of all OpenBSD nodes, None where there is none."""

    def __init__(
        self, name: str, startup_script: Output[str] | None, opts: ResourceOptions
    ) -> None:
        # Not protected: it is deleted with the last node at Vultr.
        self._identity = Identity(f"{name}-identity", opts).identity
        self._script: Output[str] | None = None
        if startup_script is not None:
            made = StartupScript(f"{name}-startup-script", self._identity, startup_script, opts)
            self._script = made.id

    def key(self, name: str, digest: str, line: str, opts: ResourceOptions) -> Output[str]:
        """A key, by its own digest."""
        return Key(name, self._identity, line, _formerly("sSHKey:SSHKey", opts)).id

    def address(self, name: str, node: Node, opts: ResourceOptions) -> ReservedAddress:
        """A reserved address."""
        own = _formerly("reservedIp:ReservedIp", opts)
        address = Address(name, self._identity, node.id, node.place, own)
        return ReservedAddress(address, address.id, address.ipv4)

    def firewall(
        self,
        name: str,
        rules: Sequence[FirewallInput],
        after: Sequence[Input[Resource]],
        opts: ResourceOptions,
    ) -> Output[str]:
        """A group with its rules as one set."""
        args = [
            RuleArgs(rule.name, rule.family, rule.protocol, rule.subnet, rule.size, rule.port)
            for rule in rules
        ]
        waiting = ResourceOptions.merge(opts, ResourceOptions(depends_on=list(after)))
        own = _formerly("firewallGroup:FirewallGroup", waiting)
        return Firewall(f"{name}-firewall", self._identity, args, own).id

    def instance(self, name: str, server: ServerInput, opts: ResourceOptions) -> CreatedServer:
        """An instance."""
        assert server.group is not None, "instances have a firewall group"
        args = InstanceArgs(
            **vars(self._args(server)),
            firewall_group_id=server.group,
            ddos_protection=server.ddos_protection,
        )
        made = Instance(name, args, _formerly("instance:Instance", opts))
        return CreatedServer(made, made.id, made.created, made.ipv6)

    def bare_metal(self, name: str, server: ServerInput, opts: ResourceOptions) -> CreatedServer:
        """A bare metal server."""
        own = _formerly("bareMetalServer:BareMetalServer", opts)
        made = BareMetal(name, self._args(server), own)
        return CreatedServer(made, made.id, made.created, made.ipv6)

    def _args(self, server: ServerInput) -> ServerArgs:
        """The inputs of both kinds of servers."""
        node = server.node
        return ServerArgs(
            identity=self._identity,
            node=node.id,
            region=node.place,
            plan=node.size,
            os_id=server.image,
            address_id=server.address.id,
            ssh_key_ids=server.keys,
            enable_ipv6=node.ipv6,
            hostname=node.id,
            tags=server.tags,
            user_data=server.user_data,
            # Nothing on an OpenBSD server reads user data by itself.
            script_id=self._script if node.os is OperatingSystem.OPENBSD else None,
        )

    def reverse(
        self, name: str, server: CreatedServer, ip: Input[str], to: str, family: int
    ) -> None:
        """A reverse name."""
        former = f"reverseIpv{family}:ReverseIpv{family}"
        opts = ResourceOptions(parent=server.resource)
        Reverse(name, server.id, ip, to, _formerly(former, opts))


def _formerly(type_: str, opts: ResourceOptions) -> ResourceOptions:
    alias = ResourceOptions(aliases=[Alias(type_=f"vultr:index/{type_}")])
    return ResourceOptions.merge(opts, alias)
