"""Facts: what is known of a node only once it runs.

One small schema: the agent reports it when it joins, the stack keeps it in its state, and
rendering takes it as its second input beside the plan. It is parsed here whatever its origin.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node says of itself, and what the operator needs to render and to seal for it."""

    instance_id: str
    """The provider's id of this instance, as cloud-init knows it."""
    uplink: str
    """The interface that holds the main address: found by address, never by name."""
    ipv4: IPv4Address
    """Main address, the source of the IPv4 upstream session."""
    ipv6: IPv6Address | None
    gateway4: IPv4Address | None
    gateway6: IPv6Address | None
    mtu: int
    bird: str
    """Version of BIRD as ``bird --version`` prints it, for example ``2.17.1``."""
    kernel: str
    debian: str
    kernel_wireguard: bool
    """False where tunnels run in userspace (wireguard-go)."""
    wireguard: str
    """Public key, base64 as ``wg pubkey`` prints it."""
    identity: str
    """Ed25519 public key, base64: signs requests and reports."""
    sealing: str
    """X25519 public key, base64: secrets are sealed to it."""
    tls_sha256: str | None
    """SHA-256 (hex) of the registry's certificate, on a registry."""
