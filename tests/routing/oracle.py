"""What a route from an upstream deserves: the reasons to refuse it, or none.

Written from the RFCs, NLNOG's BGP filter guide and the reference of this project, not from the
templates: it counts and compares where BIRD matches sets, so that the two share no mistake. It
knows all reasons that apply; which of them a router names first is the router's choice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from tests.kit.bgp.attributes import Path, Route, Segment

Network = IPv4Network | IPv6Network

# RFC 1122, 1918, 6598, 3927, 6890, 5737, 7526, 2544, 5771, 1112: nobody's to announce.
BOGONS4 = tuple(
    IPv4Network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
)  # fmt: skip
# RFC 4291, 6666, 5180, 4843, 3849, 7526, 3701, 9637, 9602, 4193, 3879. What is outside 2000::/3 is
# not repeated here: nothing there is global unicast.
BOGONS6 = tuple(
    IPv6Network(each)
    for each in (
        "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3ffe::/16", "3fff::/20",
    )
)  # fmt: skip
GLOBAL_UNICAST = IPv6Network("2000::/3")
TEREDO = IPv6Network("2001::/32")  # RFC 4380: the block itself may be announced, no part of it
SHORTEST, LONGEST = {4: 8, 6: 12}, {4: 24, 6: 48}
LONGEST_PATH = 100
MOST_COMMUNITIES = 99

# First and last ASN of what no network has: RFC 7607, 6793, 5398, 6996, 7300, IANA's registry.
BOGON_ASNS = (
    (0, 0), (23456, 23456), (64496, 64511), (64512, 65534), (65535, 65535), (65536, 65551),
    (65552, 131071), (4200000000, 4294967294), (4294967295, 4294967295),
)  # fmt: skip
PRIVATE_ASNS = ((64512, 65534), (4200000000, 4294967294))  # RFC 6996

GRACEFUL_SHUTDOWN = (65535, 0)  # RFC 8326


@dataclass(frozen=True)
class Session:
    """The session that a route comes in on: who we are, and whom we listen to."""

    asn: int
    own: tuple[Network, ...]
    lans: tuple[Network, ...]
    peer: int
    address: str
    take: Literal["none", "default", "full"]
    role: Literal["provider", "peer", "routeServer"]
    direct: bool


def reasons(route: Route, session: Session) -> frozenset[str]:
    """Why this route must be refused, by the names of reasons.conf; empty where it is taken."""
    path = _whole(route.path or ())
    return frozenset(
        (
            *_of_prefix(route.prefix, session),
            *_of_path(path, session),
            *_of_hop(route, session),
        )
    )


def _of_prefix(prefix: str, session: Session) -> Iterator[str]:
    net = _network(prefix)
    is_default = net.prefixlen == 0
    if session.take == "default":
        if not is_default:
            yield "NOT_A_DEFAULT"
        return
    if is_default:
        yield "DEFAULT_ROUTE"
    if any(_inside(net, own) for own in session.own):
        yield "OWN_PREFIX"
    if any(_inside(net, lan) for lan in session.lans):
        yield "IXP_LAN"
    if is_bogon(prefix):
        yield "BOGON_PREFIX"
    if net.prefixlen < SHORTEST[net.version]:
        yield "TOO_SHORT"
    if net.prefixlen > LONGEST[net.version]:
        yield "TOO_LONG"


def is_bogon(prefix: str) -> bool:
    """Whether a prefix lies in what nobody may announce."""
    net = _network(prefix)
    if isinstance(net, IPv4Network):
        return any(_inside(net, bogon) for bogon in BOGONS4)
    if not _inside(net, GLOBAL_UNICAST) or any(_inside(net, bogon) for bogon in BOGONS6):
        return True
    return _inside(net, TEREDO) and net != TEREDO


def _of_path(path: Path, session: Session) -> Iterator[str]:
    sets = [part for part in path if isinstance(part, frozenset)]
    if sets:
        yield "AS_SET_IN_PATH"
    if session.role != "routeServer" and path[:1] != (session.peer,):
        yield "FIRST_AS"
    asns = list(_asns(path))
    if session.asn in asns:
        yield "OWN_ASN"
    # Only a first hop may be a private ASN, and only the one that the provider prescribes.
    begins = path[:1] == (session.peer,)
    beyond = asns[1:] if begins else asns
    if _within(session.peer, PRIVATE_ASNS) and session.peer in beyond:
        yield "PEER_ASN_DEEPER"
    if any(_within(asn, BOGON_ASNS) for asn in beyond):
        yield "BOGON_ASN"
    if len(path) > LONGEST_PATH:
        yield "PATH_TOO_LONG"


def _whole(path: Path) -> Path:
    """A path in which sequences that follow each other are one."""
    whole: list[int | frozenset[int] | Segment] = []
    for part in path:
        whole += part.asns if isinstance(part, Segment) else (part,)
    return tuple(whole)


def _of_hop(route: Route, session: Session) -> Iterator[str]:
    """RFC 7454 section 10. A route server passes on the hops of others (RFC 7947 section 2.2.1)."""
    if session.direct and session.role != "routeServer":
        hop = route.next_hop[0] if isinstance(route.next_hop, tuple) else route.next_hop
        if str(hop) != session.address:
            yield "NEXT_HOP"


def preference(route: Route) -> int:
    """The local preference that a route that is taken has."""
    return 0 if GRACEFUL_SHUTDOWN in route.communities else 100


@dataclass(frozen=True)
class Communities:
    """What a route keeps."""

    plain: tuple[tuple[int, int], ...] = ()
    extended: tuple[bytes, ...] = ()
    large: tuple[tuple[int, int, int], ...] = ()


def communities(route: Route, asn: int) -> Communities:
    """RFC 7454 section 11: ours from outside are scrubbed; a hundred or more are no information."""
    kept = Communities(
        tuple(each for each in route.communities if each[0] != asn),
        tuple(each for each in route.extended if not _administered(each, asn)),
        tuple(each for each in route.large if each[0] != asn),
    )
    count = len(kept.plain) + len(kept.extended) + len(kept.large)
    return Communities() if count > MOST_COMMUNITIES else kept


def _administered(extended: bytes, asn: int) -> bool:
    """Whether an extended community (RFC 4360, 5668) names an ASN as its administrator."""
    kind = extended[0] & 0x3F
    if kind == 0:
        return int.from_bytes(extended[2:4], "big") == asn
    return kind == 2 and int.from_bytes(extended[2:6], "big") == asn


def _asns(path: Path) -> Iterator[int]:
    for part in path:
        if isinstance(part, int):
            yield part
        elif isinstance(part, frozenset):
            yield from sorted(part)


def _within(asn: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= asn <= last for first, last in ranges)


@cache
def _network(prefix: str) -> Network:
    return ip_network(prefix)


def _inside(net: Network, block: Network) -> bool:
    return net.version == block.version and net.subnet_of(block)  # type: ignore[arg-type]
