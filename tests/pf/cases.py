"""Packets for both kernels: each content from each source to each destination on each interface."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count, product

from tests.pf.packets import Packet
from tests.pf.world import MEMBER, PEER, UPLINK

INTERFACES = (UPLINK, PEER, MEMBER)
SOURCES = {
    4: {
        "a client": "198.51.100.2",
        "a private address": "10.1.2.3",
        "a provider's private address": "100.64.0.9",
        "the peer in its tunnel": "10.10.10.1",
        "the member in its tunnel": "10.10.10.6",
        "the member": "192.30.120.13",
        "nobody's address": "192.30.121.200",
        "an admin": "207.231.1.46",
        "the upstream": "169.254.169.254",
        "a node at its provider": "203.0.113.1",
    },
    6: {
        "a client": "2001:db8:9::2",
        "the peer in its tunnel": "fd00:10:10::1",
        "the member in its tunnel": "fd00:10:10::6",
        "the member": "2620:71:4000::13",
        "nobody's address": "2620:71:4000:1::5",
        "a neighbor on the link": "fe80::1",
        "the upstream": "2001:19f0:ffff::1",
        "a node at its provider": "2001:db8::1",
    },
}
DESTINATIONS = {
    4: {
        "the node at its provider": "203.0.113.2",
        "the node's announced address": "192.30.120.9",
        "the node in its tunnels": "10.10.10.2",
        "the exit": "10.10.10.254",
        "a service": "192.30.120.100",
        "a service that it may not serve": "192.30.120.102",
        "the peer's announced address": "192.30.120.1",
        "the member's announced address": "192.30.120.13",
        "nobody's address": "192.30.121.77",
        "the peer in its tunnel": "10.10.10.1",
        "the member in its tunnel": "10.10.10.6",
        "a client": "198.51.100.77",
        "everybody on the link": "255.255.255.255",
    },
    6: {
        "the node at its provider": "2001:db8::2",
        "the node's announced address": "2620:71:4000::9",
        "the node in its tunnels": "fd00:10:10::2",
        "the exit": "fd00:10:10:ffff:ffff:ffff:ffff:fffe",
        "a service": "2620:71:4000::100",
        "a service that it may not serve": "2620:71:4000::102",
        "the peer's announced address": "2620:71:4000::1",
        "the member's announced address": "2620:71:4000::13",
        "nobody's address": "2620:71:4000:1::77",
        "the peer in its tunnel": "fd00:10:10::1",
        "the member in its tunnel": "fd00:10:10::6",
        "a client": "2001:db8:9::77",
        "everybody on the link": "ff02::1",
    },
}
_ANY = Packet(source="0.0.0.0", destination="0.0.0.0")


def _tcp(port: int, flags: str = "S") -> Packet:
    return replace(_ANY, port=port, flags=flags)


def _udp(port: int, source_port: int = 0) -> Packet:
    return replace(_ANY, protocol="udp", port=port, source_port=source_port)


def _icmp(protocol: str, kind: str, hops: int = 64) -> Packet:
    return replace(_ANY, protocol=protocol, kind=kind, hops=hops)


CONTENTS = {
    4: (
        *(_icmp("icmp", kind) for kind in ("echoreq", "echorep", "unreach", "timex", "redir")),
        _udp(68, 67), _udp(68),
    ),
    6: (
        *(_icmp("icmp6", kind) for kind in ("echoreq", "echorep", "unreach", "toobig", "timex")),
        *(_icmp("icmp6", kind, 255) for kind in ("neighbrsol", "neighbradv", "routeradv")),
        _icmp("icmp6", "neighbrsol"), _icmp("icmp6", "listqry", 1),
        _udp(546, 547), _udp(546),
    ),
}  # fmt: skip
"""What belongs to one IP version."""
BOTH = (
    *(_tcp(port) for port in (22, 80, 443, 179, 8080, 5000)),
    *(_tcp(port, "A") for port in (22, 80, 179, 5000)),
    *(_udp(port) for port in (53, 443, 3784, 4784, 51820, 51826, 51827)),
    replace(_ANY, protocol="gre"),
)


def arrivals() -> Iterator[tuple[Packet, str]]:
    """All of them, each with the interface where it comes in and a flow of its own."""
    ports = count()
    for version in (4, 6):
        for interface, source, destination, content in product(
            INTERFACES,
            SOURCES[version].values(),
            DESTINATIONS[version].values(),
            (*CONTENTS[version], *BOTH),
        ):
            fixed = content.protocol == "udp" and content.source_port
            own = content.source_port if fixed else 20000 + next(ports) % 30000
            packet = replace(content, source=source, destination=destination, source_port=own)
            if source != destination:
                yield packet, interface
