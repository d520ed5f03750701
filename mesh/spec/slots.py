"""Host numbers: a slot's number in the aggregates, which its addresses follow from."""

from __future__ import annotations

from ipaddress import IPv4Address

from mesh.spec.model import Prefixes


def are_numbers(prefixes: Prefixes | None) -> bool:
    """Whether slots are host numbers instead of IPv4 addresses: the network has IPv6 only."""
    return prefixes is not None and prefixes.ipv4 is None and prefixes.ipv6 is not None


def host_number(slot: IPv4Address | int, prefixes: Prefixes) -> int:
    """The host number of a slot: its distance from the IPv4 aggregate's first address."""
    if isinstance(slot, int):
        return slot
    assert prefixes.ipv4 is not None, "the spec has been checked"
    return int(slot) - int(prefixes.ipv4.network_address)
