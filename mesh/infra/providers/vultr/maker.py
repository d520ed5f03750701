"""What makes the resources at Vultr: the interface of the API and of the plugin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pulumi
from pulumi import Input, Output, ResourceOptions

from mesh.plan import Node


@dataclass(frozen=True, slots=True)
class ReservedAddress:
    """A reserved address: its resource, Vultr's id of it, and the address itself."""

    resource: pulumi.Resource
    id: Output[str]
    ipv4: Output[str]


@dataclass(frozen=True, slots=True)
class FirewallInput:
    """What the firewall group lets in: a family (4 or 6), a protocol, and a port as Vultr writes
    it, empty for ICMP. ``name`` is unique in the group."""

    name: str
    family: int
    protocol: str
    subnet: Input[str]
    size: int
    port: str


@dataclass(frozen=True, slots=True)
class ServerInput:
    """The inputs of a server. ``group`` is the id of its firewall group, None for bare metal;
    ``keys`` are the ids of the keys that may log in; the user data are a secret."""

    node: Node
    image: int
    address: ReservedAddress
    group: Output[str] | None
    keys: Sequence[Input[str]]
    tags: Sequence[str]
    ddos_protection: bool
    user_data: Output[str]


@dataclass(frozen=True, slots=True)
class CreatedServer:
    """A server: its resource, Vultr's id, creation time (RFC 3339) and main IPv6 address."""

    resource: pulumi.Resource
    id: Output[str]
    created: Output[str]
    ipv6: Output[str]


class Maker(Protocol):
    """Makes a stack's resources. Both implementations name a resource ``name``: a stack that
    changes from one to the other keeps its names."""

    def key(self, name: str, digest: str, line: str, opts: ResourceOptions) -> Output[str]:
        """Register a public key with this digest; returns its id."""

    def address(self, name: str, node: Node, opts: ResourceOptions) -> ReservedAddress:
        """Reserve an IPv4 address in the node's region."""

    def firewall(
        self,
        name: str,
        rules: Sequence[FirewallInput],
        after: Sequence[Input[pulumi.Resource]],
        opts: ResourceOptions,
    ) -> Output[str]:
        """Make a firewall group with these rules, after the resources of ``after``; returns its id.
        The group is named ``<name>-firewall``, a resource of a rule ``<name>-<rule>``."""

    def instance(self, name: str, server: ServerInput, opts: ResourceOptions) -> CreatedServer:
        """Start a virtual server."""

    def bare_metal(self, name: str, server: ServerInput, opts: ResourceOptions) -> CreatedServer:
        """Start a bare metal server."""

    def reverse(
        self, name: str, server: CreatedServer, ip: Input[str], to: str, family: int
    ) -> None:
        """Set the reverse name of an instance's address; it is deleted with the server."""
