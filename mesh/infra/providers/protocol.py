"""What a provider's driver has to do."""

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
    """What is made of a node before its server, and outlives it: its public IPv4 address.
    ``inside`` is the server's own address where the provider translates, and ``routers`` are the
    BGP speakers of its VPC, in the order of the plan's sessions with them."""

    ipv4: Output[str]
    inside: Output[str] | None = None
    routers: Sequence[Output[str]] = ()


@dataclass(frozen=True)
class Machine:
    """A server: its resource, its instance id in cloud-init, its creation time (RFC 3339), and its
    main IPv6 address, None where it has none."""

    resource: pulumi.Resource
    instance_id: Output[str]
    created: Output[str]
    ipv6: Output[str | None]


@dataclass(frozen=True)
class StackConfiguration:
    """What all drivers get: the checked stack file and its plan; the BGP passwords and the private
    keys for existing hosts by provider, both secret; and what receivers of alerts keep to
    themselves by receiver, None without any."""

    spec: Spec
    plan: Plan
    passwords: Output[Mapping[str, str]]
    ssh_keys: Output[Mapping[str, str]]
    bundle: str
    """SHA-256 of the bundle that nodes run."""
    root: Path
    """The folder of the stack files."""
    receivers: Output[Mapping[str, str]] | None = None
    operator: Output[str] | None = None
    """The operator's public key, base64; None until its resource is registered."""


class Driver(Protocol):
    """One provider. Made once per stack; what all of its nodes share (a firewall group, the lab's
    world) is made then, named after ``name``.

    ``fixed_at_creation`` names the inputs of an instance whose change would replace the server: it
    is ignored on a running one. ``namespace`` is the network namespace of the operator's
    connections, None for the machine's own. ``publish_deadline`` is how many seconds a new fleet
    takes at most until all nodes have joined and applied the generation.
    """

    fixed_at_creation: Sequence[str]
    namespace: str | None
    publish_deadline: float

    def __init__(
        self, name: str, configuration: StackConfiguration, opts: ResourceOptions
    ) -> None: ...

    @staticmethod
    def problems(configuration: StackConfiguration) -> Iterator[Problem | Note]:
        """What the provider would refuse (an unknown plan, image, key), before anything is made and
        at every preview, with few queries. A note is shown in the preview, such as the monthly
        cost. In a run that ends the network, problems with keys of the stack file (``mesh:``) are
        warnings, and the driver is made without the answers."""

    def reserve(self, name: str, node: Node, opts: ResourceOptions) -> Reserved:
        """Reserve the node's addresses in resources named after ``name``."""

    def make_firewall(self, addresses: Mapping[str, Output[str]]) -> None:
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
