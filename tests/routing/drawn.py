"""Routes drawn at random, with an inclination to the edges of every rule."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from random import Random
from typing import Any, TypeVar

from tests.kit.bgp.attributes import Path, Route
from tests.routing.oracle import BOGON_ASNS, BOGONS4, BOGONS6, GLOBAL_UNICAST, TEREDO, Session

T = TypeVar("T")
Network = IPv4Network | IPv6Network
BITS = {4: 32, 6: 128}
# Lengths where some rule changes its mind.
LENGTHS = {4: (0, 1, 7, 8, 9, 23, 24, 25, 32), 6: (0, 3, 11, 12, 13, 28, 32, 33, 47, 48, 49, 128)}
REST6 = tuple(
    ip_network(each)
    for each in (
        "::/8", "64:ff9b::/96", "100::/64", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
        "ff00::/8", "4000::/3",
    )
)  # fmt: skip
PLAIN = {
    4: (ip_network("8.0.0.0/8"), ip_network("1.0.0.0/8")),
    6: (ip_network("2600::/12"), ip_network("2a00::/12")),
}
PLAIN_LENGTHS = {4: (16, 20, 22, 23, 24), 6: (29, 32, 36, 48)}
COMMON = (174, 701, 1299, 3356, 13335, 15169, 64495, 131072, 400000)
OTHER_HOPS = {4: ("203.0.113.99", "203.0.113.254"), 6: ("2001:db8::99", "2001:db8::ffff")}
# Of two networks only, in and out of sets: what a set may hide behind.
TANGLED: tuple[int | frozenset[int], ...] = (
    174,
    3356,
    frozenset({174}),
    frozenset({3356}),
    frozenset({174, 3356}),
)


class Draws:
    """Draws what a session may say in a family; the same in every run."""

    def __init__(self, session: Session, family: int) -> None:
        self._random = Random(f"{session} IPv{family}")
        self._session = session
        self._family = family
        own = [net for net in (*session.own, *session.lans) if net.version == family]
        others = BOGONS4 if family == 4 else (*BOGONS6, TEREDO, GLOBAL_UNICAST, *REST6)
        self._blocks: list[Network] = [*own, *others, *PLAIN[family]]
        self._hops = [ip_address(each) for each in (*[session.address] * 8, *OTHER_HOPS[family])]
        borders = {max(0, asn + by) for pair in BOGON_ASNS for asn in pair for by in (-1, 0, 1)}
        self._odd = sorted({*borders, session.asn, session.peer} - {1 << 32})

    def routes(self) -> list[Route]:
        """A handful of announcements, each of another prefix."""
        count, found = self._random.randint(30, 60), dict[str, Route]()
        while len(found) < count:
            prefix = self._near() if self._often(0.6) else self._anywhere()
            rest = self._communities() if self._often(0.5) else {}
            found[prefix] = Route(prefix, self._path(), self._one(self._hops), **rest)
        return list(found.values())

    def _one(self, things: list[T] | tuple[T, ...]) -> T:
        return self._random.choice(things)

    def _often(self, share: float) -> bool:
        return self._random.random() < share

    def _near(self) -> str:
        """A prefix beside, around or within what some rule is about."""
        block, bits = self._one(self._blocks), BITS[self._family]
        at = int(self._one((block.network_address, block.broadcast_address)))
        at += self._one((-1, 0, 0, 1))
        around = (block.prefixlen - 1, block.prefixlen, block.prefixlen + 1)
        length = self._random.randint(block.prefixlen, bits)
        if self._often(0.5):
            length = min(max(self._one((*LENGTHS[self._family], *around)), 0), bits)
        if length and self._often(0.5):
            at ^= 1 << (bits - self._random.randint(1, length))
        return _masked(at % (1 << bits), length, self._family)

    def _anywhere(self) -> str:
        inside, length = self._one(PLAIN[self._family]), self._one(PLAIN_LENGTHS[self._family])
        at = int(inside.network_address) + self._random.randrange(inside.num_addresses)
        return _masked(at, length, self._family)

    def _path(self) -> Path:
        """A path that begins as it should, mostly, with anything after that."""
        step = self._one((self._asn, self._asn, self._asn_or_set, self._tangled))
        path: list[int | frozenset[int]] = [step() for _ in range(self._random.randint(0, 5))]
        if self._often(0.9):
            path.insert(0, self._session.peer)
        if self._often(0.1):
            path += [self._one(COMMON)] * (self._random.randint(98, 102) - len(path))
        return tuple(path)

    def _tangled(self) -> int | frozenset[int]:
        return self._one(TANGLED)

    def _asn(self) -> int | frozenset[int]:
        return self._one(COMMON) if self._often(0.75) else self._one(self._odd)

    def _asn_or_set(self) -> int | frozenset[int]:
        if self._often(0.5):
            return self._asn()
        members = (*COMMON[:4], self._session.peer, self._session.asn, 64512)
        return frozenset(self._random.sample(members, self._random.randint(1, 3)))

    def _communities(self) -> dict[str, Any]:
        """Communities of all kinds: ours, those that mean something to everybody, crowds."""
        own, peer = self._session.asn, self._session.peer & 0xFFFF
        first = (own, 3356, 65535, peer)
        plain = {(self._one(first), self._one((0, 1, 666, 65281))) for _ in range(self._few(3))}
        crowd = self._random.randint(96, 102) if self._often(0.25) else 0
        large = {
            (self._one((own, 3356)), 65666, self._random.randint(1, 16))
            for _ in range(self._few(2))
        }
        extended = {
            _extended(self._one(("0002", "0003", "0202", "0203")), self._one((own, 3356)))
            for _ in range(self._few(2))
        }
        return {
            "communities": (*sorted(plain), *((3356, 1000 + n) for n in range(crowd))),
            "large": tuple(sorted(large)),
            "extended": tuple(sorted(extended)),
        }

    def _few(self, most: int) -> int:
        return self._random.randint(0, most)


def _masked(at: int, length: int, family: int) -> str:
    free = BITS[family] - length
    address = ip_address((at >> free << free).to_bytes(BITS[family] // 8, "big"))
    return f"{address}/{length}"


def _extended(kind: str, asn: int) -> bytes:
    """An extended community: a route target or origin of an AS in two or in four octets."""
    width = 2 if kind.startswith("00") else 4
    return bytes.fromhex(kind) + asn.to_bytes(width, "big") + (7).to_bytes(6 - width, "big")
