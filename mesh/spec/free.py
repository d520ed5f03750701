"""Free numbers, blocks and addresses of a stack file, for error messages that ask for another."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain, count, islice

from mesh.spec.mirrored import mirrored
from mesh.spec.model import Node, Prefixes, Region

LENGTH = 29
"""Prefix length of a region's block."""
SERVICES = 100
"""The first host number that is suggested for services, above the first regions' blocks."""


def number(nodes: Mapping[str, Node]) -> int:
    """A free node number."""
    return max((node.number for node in nodes.values()), default=0) + 1


def block(prefixes: Prefixes | None, taken: Iterable[Region]) -> IPv4Network | None:
    """The first /29 of the IPv4 aggregate that no region has; None where there is none."""
    if prefixes is None or prefixes.ipv4 is None or prefixes.ipv4.prefixlen > LENGTH:
        return None
    blocks = [region.block for region in taken if region.block is not None]
    return next(
        (
            each
            for each in prefixes.ipv4.subnets(new_prefix=LENGTH)
            if not any(each.overlaps(other) for other in blocks)
        ),
        None,
    )


def host_number(regions: Iterable[Region]) -> int:
    """The lowest host number that no slot has."""
    taken = {slot for region in regions for slot in region.slots.values()}
    return next(number for number in count(1) if number not in taken)


def hosts(prefix: IPv4Network) -> Iterator[IPv4Address]:
    """Host addresses of the aggregate for services, from SERVICES on first."""
    first, last = int(prefix.network_address), int(prefix.broadcast_address)
    start = min(first + SERVICES, last)
    return map(IPv4Address, chain(range(start, last), range(first + 1, start)))


def service4(
    prefixes: Prefixes,
    regions: Iterable[Region],
    taken: Collection[IPv4Address | IPv6Address | None],
) -> IPv4Address | None:
    """A free IPv4 address for a service; None where there is none among the first 512."""
    if prefixes.ipv4 is None:
        return None
    blocks = [region.block for region in regions if region.block is not None]
    some = islice(hosts(prefixes.ipv4), 512)
    return next(
        (host for host in some if host not in taken and not any(host in each for each in blocks)),
        None,
    )


def service6(
    prefix: IPv6Network,
    regions: Iterable[Region],
    taken: Collection[IPv4Address | IPv6Address | None],
) -> IPv6Address:
    """A free IPv6 address for a service in a network with IPv6 only."""
    slots = {slot for region in regions for slot in region.slots.values()}
    free = (mirrored(number, prefix) for number in count(SERVICES) if number not in slots)
    return next(address for address in free if address not in taken)
