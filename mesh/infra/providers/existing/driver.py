"""Existing hosts: servers that are there already, of whatever provider, delivered to over SSH."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pulumi import Input, Output, ResourceOptions

from mesh.infra.dynamic.host import FIXED_AT_CREATION, Host, HostArgs
from mesh.infra.dynamic.hostkey import HostKey, HostKeyArgs
from mesh.infra.providers.protocol import Machine, Reserved, StackConfiguration
from mesh.plan import Node
from mesh.spec import Problem
from mesh.spec.model import Host as Given


class Existing:
    """Nodes on hosts without an API."""

    fixed_at_creation = FIXED_AT_CREATION
    namespace: str | None = None
    # Debian's mirror takes most of it.
    publish_deadline = 600.0

    def __init__(
        self, _name: str, configuration: StackConfiguration, _opts: ResourceOptions
    ) -> None:
        self._configuration = configuration
        self._keys: dict[str, HostKey] = {}

    @staticmethod
    def problems(configuration: StackConfiguration) -> Iterator[Problem]:
        """None: the resource of a new host runs the preflight."""
        yield from ()

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
        """Nothing: a host has its own firewall only."""

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """The host's address and its host key, which outlive what is delivered to it."""
        given = _given(self._configuration, node)
        args = HostKeyArgs(
            node=node.id,
            provider=node.provider,
            ipv4=str(given.ipv4),
            port=given.ssh.port,
            user=given.ssh.user,
            host_keys=given.ssh.host_keys,
            ssh_key=self._ssh_key(node),
            os=node.os.value,
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
        given = _given(self._configuration, node)
        args = HostArgs(
            node=node.id,
            provider=node.provider,
            ipv4=str(given.ipv4),
            ipv6=_ipv6(node, given),
            port=given.ssh.port,
            user=given.ssh.user,
            host_keys=given.ssh.host_keys,
            host_key=self._keys[node.id].key,
            admin=[str(network) for network in self._configuration.plan.access.admin],
            ssh_key=self._ssh_key(node),
            user_data=user_data,
            os=node.os.value,
        )
        # The name that every other driver gives a server: `--replace '**<node>-instance'`.
        host = Host(f"{name}-instance", args, opts)
        return Machine(host, host.instance_id, host.created, Output.from_input(_ipv6(node, given)))

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """SSH, as configured in the stack file."""
        ssh = _given(self._configuration, node).ssh
        port = "" if ssh.port == 22 else f"-p {ssh.port} "
        return {"ssh": Output.concat(f"ssh {port}{ssh.user}@", reserved.ipv4)}

    def _ssh_key(self, node: Node) -> Output[str]:
        return self._configuration.ssh_keys.apply(lambda keys: keys[node.provider])


def _given(configuration: StackConfiguration, node: Node) -> Given:
    host: Given | None = configuration.spec.nodes[node.id].host
    assert host is not None, "this driver makes existing hosts only"
    return host


def _ipv6(node: Node, given: Given) -> str | None:
    return str(given.ipv6) if node.ipv6 and given.ipv6 is not None else None
