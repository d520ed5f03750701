"""Makes servers by the plugin of ``ediri_vultr``; :mod:`mesh.infra.providers.vultr` lists its
broken versions."""

from __future__ import annotations

from collections.abc import Sequence

from pulumi import Input, Output, Resource, ResourceOptions

from mesh.infra.providers.vultr import sdk
from mesh.infra.providers.vultr.maker import (
    CreatedServer,
    FirewallInput,
    ReservedAddress,
    ServerInput,
)
from mesh.infra.providers.vultr.tags import TAG
from mesh.plan import Node, Plan


class Plugin:
    """Resources of ``ediri_vultr``."""

    def __init__(self, plan: Plan) -> None:
        self._stack = plan.stack

    def key(self, name: str, digest: str, line: str, opts: ResourceOptions) -> Output[str]:
        """A key, named by its digest."""
        return sdk.SSHKey(name, name=f"{TAG} {self._stack} {digest}", ssh_key=line, opts=opts).id

    def address(self, name: str, node: Node, opts: ResourceOptions) -> ReservedAddress:
        """A reserved address, labelled with its node."""
        address = sdk.ReservedIp(
            name,
            region=node.place,
            ip_type="v4",
            label=node.id,
            opts=ResourceOptions.merge(
                opts,
                # Attached through the server, the address reads as drifted after a refresh in
                # older versions of the provider, and the next update detaches it from a running
                # server (terraform-provider-vultr, issue 121).
                ResourceOptions(ignore_changes=["instance_id"]),
            ),
        )
        return ReservedAddress(address, address.id, address.subnet)

    def firewall(
        self,
        name: str,
        rules: Sequence[FirewallInput],
        after: Sequence[Input[Resource]],
        opts: ResourceOptions,
    ) -> Output[str]:
        """A group, and a resource for each of its rules."""
        group = sdk.FirewallGroup(
            f"{name}-firewall",
            description=f"{TAG} {self._stack}",
            opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=list(after))),
        )
        for rule in rules:
            sdk.FirewallRule(
                f"{name}-{rule.name}",
                firewall_group_id=group.id,
                ip_type=f"v{rule.family}",
                protocol=rule.protocol,
                subnet=rule.subnet,
                subnet_size=rule.size,
                port=rule.port,
                notes=rule.name,
                opts=opts,
            )
        return group.id

    def instance(self, name: str, server: ServerInput, opts: ResourceOptions) -> CreatedServer:
        """An instance. Its console address contains a token, and is a secret in the state
        (terraform-provider-vultr, issue 690)."""
        node = server.node
        made = sdk.Instance(
            name,
            region=node.place,
            plan=node.size,
            os_id=server.image,
            reserved_ip_id=server.address.id,
            enable_ipv6=node.ipv6,
            # None leaves it unchanged; older states do not have it.
            ddos_protection=True if server.ddos_protection else None,
            firewall_group_id=server.group,
            hostname=node.id,
            label=node.id,
            tags=list(server.tags),
            ssh_key_ids=list(server.keys),
            user_data=server.user_data,
            backups="disabled",
            activation_email=False,
            opts=ResourceOptions.merge(opts, ResourceOptions(additional_secret_outputs=["kvm"])),
        )
        return CreatedServer(made, made.id, made.date_created, made.v6_main_ip)

    def bare_metal(self, name: str, server: ServerInput, opts: ResourceOptions) -> CreatedServer:
        """A bare metal server."""
        node = server.node
        made = sdk.BareMetalServer(
            name,
            region=node.place,
            plan=node.size,
            os_id=server.image,
            reserved_ipv4=server.address.id,
            enable_ipv6=node.ipv6,
            hostname=node.id,
            label=node.id,
            tags=list(server.tags),
            ssh_key_ids=list(server.keys),
            user_data=server.user_data,
            activation_email=False,
            opts=opts,
        )
        return CreatedServer(made, made.id, made.date_created, made.v6_main_ip)

    def reverse(
        self, name: str, server: CreatedServer, ip: Input[str], to: str, family: int
    ) -> None:
        """A reverse name."""
        kind = sdk.ReverseIpv4 if family == 4 else sdk.ReverseIpv6
        kind(
            name, instance_id=server.id, ip=ip, reverse=to,
            opts=ResourceOptions(parent=server.resource),
        )  # fmt: skip
