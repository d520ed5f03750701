"""Facts: what is known of a node only once it runs.

One small schema: the agent reports it when it joins, the stack keeps it in its state, and
rendering takes it as its second input beside the plan. It is parsed here whatever its origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, Field

# These texts are written into configuration files, so what they may hold is said here, and holds
# wherever facts are parsed with a TypeAdapter: on the operator's side of every join.
Interface = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
"""32 bytes in base64."""
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+~:_-]{1,64}$")]
InstanceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _unscoped(address: IPv6Address) -> IPv6Address:
    """A zone may hold any text at all, and would be written into files with its address."""
    if address.scope_id is not None:
        raise ValueError("an address with a zone")
    return address


Address6 = Annotated[IPv6Address, AfterValidator(_unscoped)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node says of itself, and what the operator needs to render and to seal for it."""

    instance_id: InstanceId
    """The provider's id of this instance, as cloud-init knows it."""
    uplink: Interface
    """The interface that holds the main address: found by address, never by name."""
    ipv4: IPv4Address
    """Main address, the source of the IPv4 upstream session."""
    ipv6: Address6 | None
    gateway4: IPv4Address | None
    gateway6: Address6 | None
    mtu: Annotated[int, Field(ge=576, le=65535)]
    bird: Version
    """Version of BIRD as ``bird --version`` prints it, for example ``2.17.1``."""
    kernel: Version
    debian: Version
    kernel_wireguard: bool
    """False where tunnels run in userspace (wireguard-go)."""
    wireguard: Key
    """Public key, base64 as ``wg pubkey`` prints it."""
    identity: Key
    """Ed25519 public key, base64: signs requests and reports."""
    sealing: Key
    """X25519 public key, base64: secrets are sealed to it."""
    tls_sha256: Sha256 | None
    """SHA-256 (hex) of the registry's certificate, on a registry."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a node is, by its provider's word, which comes before its own.

    ``ipv4`` and ``ipv6`` are what the world sends to. ``inside`` is the address that the node
    itself holds where the provider translates (1:1 NAT), else None. ``routers`` are the BGP
    speakers of its VPC, in the order of the plan's sessions with them.
    """

    ipv4: IPv4Address
    ipv6: IPv6Address | None
    inside: IPv4Address | None = None
    routers: tuple[IPv4Address, ...] = ()

    def both(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses that the world sees, IPv4 first."""
        return (self.ipv4,) if self.ipv6 is None else (self.ipv4, self.ipv6)

    @property
    def main(self) -> IPv4Address:
        """The IPv4 address that the node itself holds."""
        return self.inside or self.ipv4
