"""What a provider's driver has to do, and the plan knows the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import pulumi
    from pulumi import Input, Output, ResourceOptions

    from mesh.plan import Node, Plan
    from mesh.spec import Note, Problem, Spec


@dataclass(frozen=True)
class Reserved:
    """What exists of a node before its server, and outlives it: the address that the world sends
    to. ``inside`` is the address that the server itself holds where the provider translates, and
    ``routers`` are the BGP speakers of its VPC, in the order of the plan's sessions with them."""

    ipv4: Output[str]
    inside: Output[str] | None = None
    routers: Sequence[Output[str]] = ()


@dataclass(frozen=True)
class Machine:
    """A server: its resource, the instance id that cloud-init knows it by, its birth (RFC 3339),
    and its main IPv6 address, None where it has none."""

    resource: pulumi.Resource
    instance_id: Output[str]
    created: Output[str]
    ipv6: Output[str | None]


@dataclass(frozen=True)
class Setting:
    """What all drivers are given: the checked stack file and the plan of it; the BGP passwords
    and the private keys for existing hosts by provider, both secret."""

    spec: Spec
    plan: Plan
    passwords: Output[Mapping[str, str]]
    ssh_keys: Output[Mapping[str, str]]
    bundle: str
    """SHA-256 of the bundle that nodes run."""
    root: Path
    """Where the stack files lie."""


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

    @staticmethod
    def problems(setting: Setting) -> Iterator[Problem | Note]:
        """What the provider itself would refuse (an unknown plan, image, key), asked before
        anything is made, at every preview: few questions, each once. A note is what a preview
        tells beside that, such as the monthly cost."""

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """Reserve the node's addresses in resources named after ``name``."""

    def guard(self, addresses: Mapping[str, Output[str]]) -> None:
        """Make the provider's own firewall for this driver's nodes, once all addresses are
        reserved and before any server is made. ``addresses`` are the public IPv4 addresses of
        every node of the network, by id."""

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
