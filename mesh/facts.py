"""Facts of a running node.

The agent sends them when it joins, the stack keeps them in its state, and rendering takes them as
its second input beside the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field

from mesh.operating_systems import OperatingSystem

# These texts are written into configuration files, so their form is restricted here, and checked
# when the operator parses a join request with a TypeAdapter.
Interface = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
"""32 bytes in base64."""
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z.+~:_-]{1,64}$")]
InstanceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _unscoped(address: IPv6Address) -> IPv6Address:
    """Refuse a zone, which may be any text and would be written into files."""
    if address.scope_id is not None:
        raise ValueError("an address with a zone")
    return address


Address6 = Annotated[IPv6Address, AfterValidator(_unscoped)]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node reports of itself when it joins."""

    instance_id: InstanceId
    """The provider's id of this instance, from cloud-init."""
    uplink: Interface
    """The interface that has the main address."""
    ipv4: IPv4Address
    """Main address, the source of the IPv4 upstream session."""
    ipv6: Address6 | None
    gateway4: IPv4Address | None
    gateway6: Address6 | None
    mtu: Annotated[int, Field(ge=576, le=65535)]
    bird: Version
    """Version of BIRD as ``bird --version`` prints it, for example ``2.17.1``."""
    kernel: Version
    release: Annotated[Version, Field(validation_alias=AliasChoices("release", "debian"))]
    """Version of the operating system, such as ``13.1``; earlier versions of this code call it
    ``debian``."""
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
    os: OperatingSystem = OperatingSystem.DEBIAN

    @property
    def system(self) -> str:
        """The operating system with its release, for people."""
        return f"{self.os.own_name} {self.release}"


@dataclass(frozen=True, slots=True)
class Placement:
    """A node's addresses as its provider gives them; they take precedence over its own facts.

    ``ipv4`` and ``ipv6`` are the public ones. ``inside`` is the node's own address where the
    provider translates (1:1 NAT), else None. ``routers`` are the BGP speakers of its VPC, in the
    order of the plan's sessions with them.
    """

    ipv4: IPv4Address
    ipv6: IPv6Address | None
    inside: IPv4Address | None = None
    routers: tuple[IPv4Address, ...] = ()

    def both(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The public addresses, IPv4 first."""
        return (self.ipv4,) if self.ipv6 is None else (self.ipv4, self.ipv6)

    @property
    def main(self) -> IPv4Address:
        """The IPv4 address that the node itself holds."""
        return self.inside or self.ipv4
