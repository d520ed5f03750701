"""Existing hosts: servers that are there already, of whatever provider, delivered to over SSH."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pulumi import Input, Output, ResourceOptions

from mesh.infra.dynamic.host import SETTLED_AT_BIRTH, Host, HostArgs
from mesh.infra.dynamic.hostkey import HostKey, HostKeyArgs
from mesh.infra.providers.protocol import Machine, Reserved, Setting
from mesh.plan import Node
from mesh.spec import Problem
from mesh.spec.model import Host as Given


class Existing:
    """Nodes on hosts without an API."""

    born_with = SETTLED_AT_BIRTH
    namespace: str | None = None
    # Debian's mirror is the slowest part of it.
    patience = 600.0

    def __init__(self, _name: str, setting: Setting, _opts: ResourceOptions) -> None:
        self._setting = setting
        self._keys: dict[str, HostKey] = {}

    @staticmethod
    def problems(setting: Setting) -> Iterator[Problem]:
        """None: a host that is to come is asked itself, when its resource is looked at."""
        yield from ()

    def guard(self, addresses: Mapping[str, Output[str]]) -> None:
        """Nothing: a host has no firewall but its own."""

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """The address that the host has, and the key by which it is known there: both outlive
        what is delivered to it."""
        given = _given(self._setting, node)
        args = HostKeyArgs(
            node=node.id,
            provider=node.provider,
            ipv4=str(given.ipv4),
            port=given.ssh.port,
            user=given.ssh.user,
            host_keys=given.ssh.host_keys,
            ssh_key=self._ssh_key(node),
        )
        self._keys[node.id] = HostKey(f"{name}-host-key", args, opts)
        return Reserved(Output.from_input(str(given.ipv4)))

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """Deliver the node to its host."""
        given = _given(self._setting, node)
        args = HostArgs(
            node=node.id,
            provider=node.provider,
            ipv4=str(given.ipv4),
            ipv6=_ipv6(node, given),
            port=given.ssh.port,
            user=given.ssh.user,
            host_keys=given.ssh.host_keys,
            host_key=self._keys[node.id].key,
            admin=[str(network) for network in self._setting.plan.access.admin],
            ssh_key=self._ssh_key(node),
            user_data=user_data,
        )
        # The name that every other driver gives a server: `--replace '**<node>-instance'`.
        host = Host(f"{name}-instance", args, opts)
        return Machine(host, host.instance_id, host.created, Output.from_input(_ipv6(node, given)))

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH, as the stack file says it."""
        ssh = _given(self._setting, node).ssh
        port = "" if ssh.port == 22 else f"-p {ssh.port} "
        return {"ssh": Output.concat(f"ssh {port}{ssh.user}@", reserved.ipv4)}

    def _ssh_key(self, node: Node) -> Output[str]:
        return self._setting.ssh_keys.apply(lambda keys: keys[node.provider])


def _given(setting: Setting, node: Node) -> Given:
    host: Given | None = setting.spec.nodes[node.id].host
    assert host is not None, "the table of drivers sends existing hosts here"
    return host


def _ipv6(node: Node, given: Given) -> str | None:
    return str(given.ipv6) if node.ipv6 and given.ipv6 is not None else None
