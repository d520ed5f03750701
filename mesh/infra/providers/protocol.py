"""What a provider's driver has to do: four things, and the plan knows the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pulumi
from pulumi import Input, Output, ResourceOptions

from mesh.plan import Node, Plan


@dataclass(frozen=True)
class Reserved:
    """A node's public addresses, which exist before it and outlive it. ``ipv6`` is None where
    the node has none."""

    ipv4: Output[str]
    ipv6: Output[str | None]


@dataclass(frozen=True)
class Machine:
    """A server: its resource, the provider's id of it, and its birth (RFC 3339)."""

    resource: pulumi.Resource
    instance_id: Output[str]
    created: Output[str]


@dataclass(frozen=True)
class Setting:
    """What all drivers are given: the plan, and the BGP passwords by provider, a secret."""

    plan: Plan
    passwords: Output[Mapping[str, str]]


class Driver(Protocol):
    """One provider. Made once per stack; what all of its nodes share (a firewall group, the lab's
    world) is made then, named after ``name``.

    ``born_with`` names the inputs of an instance that a provider settles at its birth: a change
    of them would replace the server, and is ignored on one that runs. ``namespace`` is the
    network namespace that the operator's connections enter, None for the machine's own.
    ``patience`` is the seconds within which a fleet is created, joined and published, at worst.
    """

    born_with: Sequence[str]
    namespace: str | None
    patience: float

    def __init__(self, name: str, setting: Setting, opts: ResourceOptions) -> None: ...

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """Reserve the node's addresses in resources named after ``name``."""

    def boot(
        self,
        name: str,
        node: Node,
        reserved: Reserved,
        user_data: Output[str],
        opts: ResourceOptions,
    ) -> Machine:
        """Start the node's server on these addresses, from this user data (a secret)."""

    def access(self, node: Node, reserved: Reserved) -> Mapping[str, Input[str]]:
        """How the operator reaches the node: ``ssh``, and whatever else there is; no secret."""
