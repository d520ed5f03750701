"""The last step, which two ways have: making the resources at Vultr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import pulumi
from pulumi import Input, Output, ResourceOptions

from mesh.plan import Node


@dataclass(frozen=True, slots=True)
class Held:
    """A reserved address: its resource, Vultr's id of it, and the address itself."""

    resource: pulumi.Resource
    id: Output[str]
    ipv4: Output[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """What the firewall group lets in: a family (4 or 6), a protocol, and a port as Vultr writes
    it, empty for ICMP. ``name`` is unique in the group."""

    name: str
    family: int
    protocol: str
    subnet: Input[str]
    size: int
    port: str


@dataclass(frozen=True, slots=True)
class Server:
    """A server to be. ``group`` is the id of its firewall group, None for bare metal; ``keys`` are
    the ids of the keys that may log in; the user data are a secret."""

    node: Node
    image: int
    address: Held
    group: Output[str] | None
    keys: Sequence[Input[str]]
    tags: Sequence[str]
    ddos_protection: bool
    user_data: Output[str]


@dataclass(frozen=True, slots=True)
class Made:
    """A server: its resource, Vultr's id, its birth (RFC 3339) and its main IPv6 address."""

    resource: pulumi.Resource
    id: Output[str]
    created: Output[str]
    ipv6: Output[str]


class Maker(Protocol):
    """One way to make a stack's resources. Every resource is named ``name``, in both ways alike: a
    stack that changes from one to the other keeps its names."""

    def key(self, name: str, digest: str, line: str, opts: ResourceOptions) -> Output[str]:
        """Hand over a public key, which the digest names; its id."""

    def address(self, name: str, node: Node, opts: ResourceOptions) -> Held:
        """Reserve an IPv4 address in the node's region."""

    def firewall(
        self,
        name: str,
        rules: Sequence[Rule],
        after: Sequence[Input[pulumi.Resource]],
        opts: ResourceOptions,
    ) -> Output[str]:
        """Make a firewall group with these rules, once the resources of ``after`` are made; its
        id. What a rule needs for itself is named ``<name>-<rule>``, the group
        ``<name>-firewall``."""

    def instance(self, name: str, server: Server, opts: ResourceOptions) -> Made:
        """Start a virtual server."""

    def bare_metal(self, name: str, server: Server, opts: ResourceOptions) -> Made:
        """Start a bare metal server."""

    def reverse(self, name: str, server: Made, ip: Input[str], to: str, family: int) -> None:
        """Give an address of an instance its reverse name; it goes with the server."""
