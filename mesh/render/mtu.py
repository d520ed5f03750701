"""MTU of a tunnel: the planned one, or less over an uplink with a smaller MTU."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.plan import Link
from mesh.plan.links import WIREGUARD_OVERHEAD

LEAST = 1280
"""Minimum link MTU of IPv6 in bytes (RFC 8200, section 5)."""


def tunnel_mtu(link: Link, uplinks: Iterable[int]) -> int:
    """MTU of a tunnel over uplinks of these MTUs. It is never below LEAST: over an uplink that is
    too small for that, the tunnel's own packets are fragmented."""
    return min((link.mtu, *(max(uplink - WIREGUARD_OVERHEAD, LEAST) for uplink in uplinks)))
