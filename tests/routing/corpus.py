"""The corpus of reference/filters.md as a table: what an upstream says, and what it must get.

Each case is an otherwise valid route that differs in one thing. The reason of a refusal is the
name that reasons.conf defines, or BIRD's own words where BIRD refuses before any filter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from tests.kit.bgp.attributes import Path, Route, Segment
from tests.routing.oracle import BOGON_ASNS, BOGONS4
from tests.routing.trial import BUYVM, FULL, ON_LINK, OWN_ASN, PEERED, PROVIDED, SERVED, VULTR

TRANSIT, ORIGIN = 3356, 15169
AT_VULTR = {"ipv4": "169.254.169.254", "ipv6": "2001:19f0:ffff::1"}

OWN = {4: "192.30.120.0/23", 6: "2620:71:4000::/48"}


@dataclass(frozen=True)
class Refused:
    """Out of use: ``by`` a reason of ours, or ``words`` of BIRD's log before any filter."""

    by: str = ""
    words: str = ""

    def __str__(self) -> str:
        return self.by or f"BIRD: {self.words}"


TAKEN = None
BOGUS = Refused(words="Ignoring bogus route {net} ")
LEAK = Refused(words="Route leak detected - OTC attribute with mismatched ASN")
OFF_LINK = Refused(words="Invalid NEXT_HOP attribute - address {hop} not directly reachable")


@dataclass(frozen=True)
class Case:
    """One announcement. ``has``: what else must hold of a route that is taken, by attribute."""

    row: int
    what: str
    route: Route
    refused: Refused | None
    at: str = FULL
    has: dict[str, str] = field(default_factory=dict)

    @property
    def expected(self) -> str:
        """The verdict in words: ``taken``, or the reason."""
        return "taken" if self.refused is None else str(self.refused)

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.route.family

    @property
    def by_default(self) -> Refused | None:
        """The verdict where only a default route is asked for."""
        if self.refused is not None and self.refused.words:
            return self.refused
        return TAKEN if self.row in (1, 2) else Refused("NOT_A_DEFAULT")

    @property
    def words(self) -> str:
        """BIRD's own words on this route, as a pattern."""
        assert self.refused is not None
        text = re.escape(self.refused.words)
        hop = re.escape(str(self.route.next_hop))
        return text.replace(r"\{net\}", re.escape(self.route.prefix)).replace(r"\{hop\}", hop)


def valid(family: int, number: int, at: str = FULL) -> Route:
    """A route that every rule lets pass, with a prefix of its own."""
    prefix = f"8.{number >> 8}.{number & 255}.0/24" if family == 4 else f"2600:{number + 1:x}::/32"
    peer = VULTR if at == FULL else BUYVM
    hop = (AT_VULTR if at == FULL else ON_LINK)[f"ipv{family}"]
    return Route(prefix, (peer, TRANSIT, ORIGIN), ip_address(hop))


# --- Rows 1 to 47: the prefix --------------------------------------------------------------------

SHORT, LONG, BOGON = Refused("TOO_SHORT"), Refused("TOO_LONG"), Refused("BOGON_PREFIX")
DEFAULT = Refused("DEFAULT_ROUTE")

# Row, what it is, prefix, verdict.
PREFIXES: list[tuple[int, str, str, Refused | None]] = [
    (1, "a default route", "0.0.0.0/0", DEFAULT),
    (2, "a default route", "::/0", DEFAULT),
    (3, "half of the Internet", "128.0.0.0/1", SHORT),
    (3, "the other half", "0.0.0.0/1", SHORT),
    (3, "all unicast of IPv6", "2000::/3", SHORT),
    (4, "shorter than a /8", "8.0.0.0/6", SHORT),
    (4, "a /7", "8.0.0.0/7", SHORT),
    (11, "of the IETF's own (RFC 6890)", "192.0.0.0/24", Refused("BOGON_PREFIX")),
    (36, "a /24", "1.1.1.0/24", TAKEN),
    (36, "a /23", "1.1.2.0/23", TAKEN),
    (37, "a /48", "2606:4700:4700::/48", TAKEN),
    (37, "a /47", "2606:4700:4702::/47", TAKEN),
    (38, "a /25", "1.1.4.0/25", LONG),
    (39, "a /32", "1.1.5.1/32", LONG),
    (40, "a /49", "2606:4700:1::/49", LONG),
    (41, "a /128", "2606:4700::1111/128", LONG),
    (42, "a /11", "2600::/11", SHORT),
    (42, "a /12", "2400::/12", TAKEN),
    (43, "a /8", "12.0.0.0/8", TAKEN),
    (43, "a /8 with a bogon in it", "172.0.0.0/8", TAKEN),
    (44, "our aggregate", OWN[4], Refused("OWN_PREFIX")),
    (44, "our aggregate", OWN[6], Refused("OWN_PREFIX")),
    (45, "a half of our aggregate", "192.30.121.0/24", Refused("OWN_PREFIX")),
    (45, "a service address of ours", "192.30.120.100/32", Refused("OWN_PREFIX")),
    (45, "a part of our aggregate", "2620:71:4000::/49", Refused("OWN_PREFIX")),
    (45, "a service address of ours", "2620:71:4000::100/128", Refused("OWN_PREFIX")),
    (45, "our neighbor's prefix", "192.30.122.0/23", TAKEN),
    (45, "our neighbor's prefix", "2620:71:4001::/48", TAKEN),
    (46, "a peering LAN", "80.249.208.0/21", Refused("IXP_LAN")),
    (46, "a part of a peering LAN", "80.249.215.0/24", Refused("IXP_LAN")),
    (46, "beside a peering LAN", "80.249.216.0/24", TAKEN),
    (47, "a peering LAN", "2001:7f8:1::/64", Refused("IXP_LAN")),
    (47, "what a peering LAN lies in", "2001:7f8:1::/48", TAKEN),
]

# BIRD itself takes no route to addresses that are no unicast (RFC 1122, 5771, 1112).
NOT_UNICAST4 = [
    IPv4Network(n) for n in ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32")
]
NOT_UNICAST6 = [IPv6Network(n) for n in ("fe80::/10", "ff00::/8")]

# Rows 19 to 35, in the order of the reference.
BOGONS6 = {
    19: "::/8", 20: "100::/64", 21: "2001:2::/48", 22: "2001:10::/28", 23: "2001:db8::/32",
    24: "2002::/16", 25: "3ffe::/16", 26: "3fff::/20", 27: "5f00::/16", 28: "fc00::/7",
    29: "fe80::/10", 30: "fec0::/10", 31: "ff00::/8", 32: "64:ff9b::/96", 33: "2001::/33",
    34: "4000::/3", 35: "8000:1::/32",
}  # fmt: skip


def _bogons() -> Iterator[tuple[int, str, str, Refused | None]]:
    for row, bogon in [*enumerate(map(str, BOGONS4), 5), *BOGONS6.items()]:
        net = ip_network(bogon)
        yield row, "a bogon", bogon, _bogon(net)
        for what, inside in _within(net):
            yield row, what, str(inside), _bogon(inside)
        for beside in _beside(net):
            yield row, f"beside {net}", str(beside), TAKEN


def _within(net: IPv4Network | IPv6Network) -> Iterator[tuple[str, IPv4Network | IPv6Network]]:
    routed = 24 if net.version == 4 else 48
    if net.prefixlen < routed:
        yield f"the first /{routed} of {net}", ip_network((int(net.network_address), routed))
        yield f"the upper half of {net}", _last(net, net.prefixlen + 1)
        yield f"the last /{routed} of {net}", _last(net, routed)
    yield f"the last address of {net}", _last(net, net.max_prefixlen)


def _last(net: IPv4Network | IPv6Network, length: int) -> IPv4Network | IPv6Network:
    """The last prefix of a length that lies in a net."""
    return ip_network((int(net.broadcast_address), length), strict=False)


# What stands on either side of a bogon and is none: the borders are sharp.
BESIDE = {
    4: ("1.0.0.0/8", "9.255.255.0/24", "11.0.0.0/24", "100.63.255.0/24", "100.128.0.0/24",
        "126.255.255.0/24", "128.0.0.0/24", "169.253.255.0/24", "169.255.0.0/24",
        "172.15.255.0/24", "172.32.0.0/24", "192.0.1.0/24", "192.0.3.0/24", "192.88.98.0/24",
        "192.88.100.0/24", "192.167.255.0/24", "192.169.0.0/24", "198.17.255.0/24",
        "198.20.0.0/24", "198.51.99.0/24", "198.51.101.0/24", "203.0.112.0/24",
        "203.0.114.0/24", "223.255.255.0/24"),
    6: ("2001:1::/48", "2001:3::/48", "2001:f:ffff::/48", "2001:20::/48", "2001:db7:ffff::/48",
        "2001:db9::/48", "2001:ffff:ffff::/48", "2003::/48", "3ffd:ffff:ffff::/48",
        "3fff:1000::/48", "2001::/32", "3fff:ffff:ffff::/48"),
}  # fmt: skip


def _beside(net: IPv4Network | IPv6Network) -> Iterator[IPv4Network | IPv6Network]:
    """Those of BESIDE whose nearest bogon this is: they touch it, or are it but for one bit."""
    for text in BESIDE[net.version]:
        other = ip_network(text)
        touches = int(other.broadcast_address) + 1 == int(net.network_address) or int(
            net.broadcast_address
        ) + 1 == int(other.network_address)
        if touches:
            yield other


def _bogon(net: IPv4Network | IPv6Network) -> Refused:
    """BIRD looks at the first address only, and lets pass what begins with zeros."""
    not_unicast = NOT_UNICAST4 if net.version == 4 else NOT_UNICAST6
    begins_with_zero = int(net.network_address) == 0
    bogus = any(net.network_address in each for each in not_unicast) and not begins_with_zero
    return BOGUS if bogus else BOGON


# --- Rows 48 to 63: the path ---------------------------------------------------------------------

BOGON_AS, FIRST, OURSELVES = Refused("BOGON_ASN"), Refused("FIRST_AS"), Refused("OWN_ASN")
DEEPER, SET, LONG_PATH = (
    Refused(by) for by in ("PEER_ASN_DEEPER", "AS_SET_IN_PATH", "PATH_TOO_LONG")
)
P, T, O = VULTR, TRANSIT, ORIGIN  # noqa: E741


def _sequence(*asns: int) -> Segment:
    return Segment(2, asns)


def _set(*members: int) -> frozenset[int]:
    return frozenset(members)


PATHS: list[tuple[int, str, Path, Refused | None]] = [
    (57, "the provider's private ASN first", (P, T, O), TAKEN),
    (57, "a network of the provider's own", (P,), TAKEN),
    (58, "that ASN again deeper", (P, T, P, O), DEEPER),
    (58, "that ASN again as origin", (P, T, P), DEEPER),
    (58, "that ASN twice", (P, P, T), DEEPER),
    (59, "another network first", (T, O), FIRST),
    (59, "another private ASN first", (64514, O), FIRST),
    (59, "an empty path", (), FIRST),
    (60, "our ASN in the path", (P, OWN_ASN, O), OURSELVES),
    (60, "our ASN as origin", (P, T, OWN_ASN), OURSELVES),
    (61, "an AS_SET at the end", (P, T, _set(O, 13335)), SET),
    (61, "an AS_SET of one at the end", (P, T, _set(O)), SET),
    (61, "an AS_SET within", (P, _set(T, 174), O), SET),
    (61, "an AS_SET of one within", (P, T, _set(174), O), SET),
    (61, "an AS_SET of one between equals", (P, T, _set(174), T), SET),
    (61, "an AS_SET of two between equals", (P, T, _set(174, 701), T), SET),
    (61, "an AS_SET beyond a loop", (P, T, 174, T, _set(174), T), SET),
    (61, "an AS_SET that repeats both its neighbors", (P, T, _set(T), T), SET),
    (61, "an AS_SET of the neighbor", (P, _set(P), T), SET),
    (61, "two AS_SETs and nothing behind", (P, _set(T), _set(O)), SET),
    (61, "an AS_SET as the last of 100", (P, *[T] * 98, _set(O)), SET),
    (61, "an AS_SET as the second of 100", (P, _set(T), *[T] * 98), SET),
    (61, "prepends, which are no AS_SET", (P, T, T, T), TAKEN),
    (61, "a path in two sequences", (_sequence(P), _sequence(T, T, O)), TAKEN),
    (61, "a path that meets itself again", (P, T, O, T), TAKEN),
    (62, "a path of 100", (P, *[T] * 98, O), TAKEN),
    (63, "a path of 101", (P, *[T] * 99, O), LONG_PATH),
    (63, "a path of 300", (P, *[T] * 299), LONG_PATH),
]


def _bogon_asns() -> Iterator[tuple[int, str, tuple[int, ...], Refused | None]]:
    for row, (first, last) in enumerate(BOGON_ASNS, 48):
        for asn in sorted({first, last}):
            yield row, f"AS{asn} in the path", (VULTR, asn, ORIGIN), BOGON_AS
            yield row, f"AS{asn} as origin", (VULTR, TRANSIT, asn), BOGON_AS
    for asn in (1, 23455, 23457, 64495, 131072, 4199999999):
        yield 48, f"AS{asn}, beside a bogon", (VULTR, TRANSIT, asn), TAKEN


# --- Rows 71 to 88: what else a route says -------------------------------------------------------

OTHER_HOP = {4: "203.0.113.99", 6: "2001:db8::99"}
FAR_HOP = {4: "198.51.100.7", 6: "2001:db8:99::7"}
CROWD = tuple((TRANSIT, number) for number in range(100))
LARGE_CROWD = tuple((TRANSIT, 1, number) for number in range(100))
TARGET = bytes.fromhex("0002 0d1c 00000001")  # (rt, 3356, 1)
OURS = (bytes.fromhex("0002 6a52 00000001"), bytes.fromhex("0003 6a52 00000001"))  # rt, ro


@dataclass(frozen=True)
class Other:
    """A case that differs in another attribute than prefix and path."""

    row: int
    what: str
    change: Callable[[int], dict[str, Any]]
    refused: Refused | None
    at: str = FULL
    has: dict[str, str] = field(default_factory=dict)


def _same(**change: Any) -> Callable[[int], dict[str, Any]]:
    return lambda family: change


def _hop(hops: dict[int, str]) -> Callable[[int], dict[str, Any]]:
    return lambda family: {"next_hop": ip_address(hops[family])}


OTHERS: list[Other] = [
    Other(72, "from a peer, OTC of its own", _same(otc=BUYVM), TAKEN, PEERED, {"otc": str(BUYVM)}),
    Other(73, "from a peer, OTC of another", _same(otc=TRANSIT), LEAK, PEERED),
    Other(73, "from a peer, without OTC", _same(), TAKEN, PEERED, {"otc": str(BUYVM)}),
    Other(74, "from a provider, without OTC", _same(), TAKEN, FULL, {"otc": str(VULTR)}),
    Other(75, "from a provider, with OTC", _same(otc=TRANSIT), TAKEN, FULL, {"otc": str(TRANSIT)}),
    Other(75, "from a route server, without", _same(), TAKEN, SERVED, {"otc": str(BUYVM)}),
    Other(75, "from a route server, with", _same(otc=174), TAKEN, SERVED, {"otc": "174"}),
    Other(59, "a route server's own ASN left out", _same(path=(TRANSIT, ORIGIN)), TAKEN, SERVED),
    Other(59, "a peer's ASN left out", _same(path=(TRANSIT, ORIGIN)), Refused("FIRST_AS"), PEERED),
    Other(61, "a route server's, between equals", _same(path=(TRANSIT, _set(174), TRANSIT)),
          SET, SERVED),
    Other(61, "a route server's, alone", _same(path=(_set(174),)), SET, SERVED),
    Other(58, "a public ASN prepended", _same(path=(BUYVM, BUYVM, ORIGIN)), TAKEN, PROVIDED),
    Other(80, "a third party on the link", _hop(OTHER_HOP), Refused("NEXT_HOP"), PROVIDED),
    Other(80, "a third party beyond the link", _hop(FAR_HOP), OFF_LINK, PROVIDED),
    Other(80, "a multihop session's third party", _hop(FAR_HOP), TAKEN, FULL),
    Other(80, "who is behind a route server", _hop(OTHER_HOP), TAKEN, SERVED),
    Other(81, "graceful shutdown", _same(communities=((65535, 0),)), TAKEN, FULL,
          {"local_pref": "0", "community": "(65535,0)"}),
    Other(81, "graceful shutdown in a crowd", _same(communities=((65535, 0), *CROWD)), TAKEN, FULL,
          {"local_pref": "0", "community": ""}),
    Other(81, "no graceful shutdown", _same(communities=((65535, 1),)), TAKEN, FULL,
          {"local_pref": "100", "community": "(65535,1)"}),
    Other(81, "from a peer, graceful shutdown", _same(communities=((65535, 0),)), TAKEN, PEERED,
          {"local_pref": "0"}),
    Other(86, "a community of ours", _same(communities=((OWN_ASN, 666), (TRANSIT, 1))), TAKEN, FULL,
          {"community": f"({TRANSIT},1)"}),
    Other(86, "a large community of ours",
          _same(large=((OWN_ASN, 65666, 4), (OWN_ASN, 1, 2), (TRANSIT, 1, 2))), TAKEN, FULL,
          {"large_community": f"({TRANSIT}, 1, 2)"}),
    Other(86, "extended communities of ours", _same(extended=(*OURS, TARGET)), TAKEN, FULL,
          {"ext_community": f"(rt, {TRANSIT}, 1)"}),
    Other(87, "99 communities", _same(communities=CROWD[:99]), TAKEN, FULL,
          {"community": " ".join(f"({a},{b})" for a, b in CROWD[:99])}),
    Other(87, "100 communities", _same(communities=CROWD), TAKEN, FULL, {"community": ""}),
    Other(87, "100 large communities", _same(large=LARGE_CROWD), TAKEN, FULL,
          {"large_community": ""}),
    Other(87, "100 of all kinds",
          _same(communities=CROWD[:50], large=LARGE_CROWD[:49], extended=(TARGET,)), TAKEN, FULL,
          {"community": "", "large_community": "", "ext_community": ""}),
    Other(88, "NO_EXPORT", _same(communities=((65535, 65281),)), TAKEN, FULL,
          {"community": "(65535,65281)"}),
    Other(88, "NO_ADVERTISE", _same(communities=((65535, 65282),)), TAKEN, FULL,
          {"community": "(65535,65282)"}),
]  # fmt: skip


# --- The whole -----------------------------------------------------------------------------------


def _cases() -> Iterator[Case]:
    rows = [*PREFIXES[:7], *_bogons(), *PREFIXES[7:]]
    for row, what, prefix, refused in rows:
        family = 6 if ":" in prefix else 4
        yield Case(row, what, replace(valid(family, 0), prefix=prefix), refused)
    for number, (row, what, path, refused) in enumerate([*_bogon_asns(), *PATHS], 1):
        for family in (4, 6):
            yield Case(row, what, replace(valid(family, number), path=path), refused)
    for number, other in enumerate(OTHERS, 512):
        for family in (4, 6):
            route = replace(valid(family, number, other.at), **other.change(family))
            yield Case(other.row, other.what, route, other.refused, other.at, other.has)


def _once(cases: Iterator[Case]) -> tuple[Case, ...]:
    """The cases by row; a prefix stands for one case of a session only."""
    found: dict[tuple[str, str], Case] = {}
    for case in cases:
        found.setdefault((case.at, case.route.prefix), case)
    return tuple(sorted(found.values(), key=lambda case: (case.row, case.family)))


CASES = _once(_cases())
