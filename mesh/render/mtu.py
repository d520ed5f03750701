"""What a tunnel carries in one packet: what is planned, or less where an uplink carries less."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.plan import Link
from mesh.plan.links import WIREGUARD_OVERHEAD

LEAST = 1280
"""Bytes that every link of IPv6 has to carry (RFC 8200, section 5)."""


def tunnel_mtu(link: Link, uplinks: Iterable[int]) -> int:
    """MTU of a tunnel over uplinks of these MTUs. Over one that is too narrow for IPv6 in a
    tunnel, the tunnel's own packets are fragmented."""
    return min((link.mtu, *(max(uplink - WIREGUARD_OVERHEAD, LEAST) for uplink in uplinks)))
