"""A full table, synthesised: as many routes as the Internet has, with paths and communities like
its own. The same seed gives the same table.

A thousandth of it is invalid: bogons, more-specifics, private ASNs in the path.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tests.kit.bgp import messages
from tests.kit.bgp.attributes import Route

PEER = 64515
TOGETHER = 8
"""Routes with the same attributes: a million prefixes have about as many paths as that leaves."""
LENGTHS4 = {16: 2, 18: 3, 19: 4, 20: 6, 21: 6, 22: 12, 23: 10, 24: 60}
LENGTHS6 = {29: 3, 32: 12, 36: 6, 40: 12, 44: 12, 46: 3, 48: 52}
HOPS4, HOPS6 = IPv4Address("169.254.169.254"), IPv6Address("2001:19f0:ffff::1")
TRANSIT = (174, 1299, 2914, 3257, 3356, 3491, 5511, 6453, 6461, 6762, 6939, 7018)
WRONG4 = ("10.0.0.0/8", "100.64.3.0/24", "192.0.2.0/24", "203.0.113.0/25", "8.8.8.0/25")
WRONG6 = ("2001:db8::/32", "fc00::/8", "2a00:1::/49", "3fff::/24", "2002:1::/48")


@dataclass(frozen=True, slots=True)
class Group:
    """Prefixes of one family that share a path."""

    like: Route
    prefixes: tuple[str, ...]


def groups(version: int, count: int, seed: int = 27218) -> Iterator[Group]:
    """``count`` distinct routes of one family."""
    chance = random.Random(seed + version)  # noqa: S311  # a table, no secret
    left, seen = count, set[str]()
    while left > 0:
        size = min(left, TOGETHER)
        wrong = chance.random() < 0.001
        names: list[str] = []
        while len(names) < size:
            name = _prefix(version, chance)
            if name not in seen:
                seen.add(name)
                names.append(name)
        if wrong:
            names[0] = chance.choice(WRONG4 if version == 4 else WRONG6)
        yield Group(_like(version, chance), tuple(names))
        left -= size


def updates(version: int, count: int) -> list[bytes]:
    """The same as UPDATEs, ready to be sent."""
    made: list[bytes] = []
    for group in groups(version, count):
        made += messages.announcements(group.like, group.prefixes)
    return made


def _prefix(version: int, chance: random.Random) -> str:
    weights = LENGTHS4 if version == 4 else LENGTHS6
    (length,) = chance.choices(tuple(weights), tuple(weights.values()))
    if version == 4:
        first = chance.choice(FIRST)
        host = (first << 24 | chance.getrandbits(24)) >> (32 - length) << (32 - length)
        return f"{IPv4Address(host)}/{length}"
    bits = 0x2A << 120 | chance.getrandbits(120)
    return f"{IPv6Address(bits >> (128 - length) << (128 - length))}/{length}"


# No special-purpose block and none of the network's own begins with one of these.
FIRST = [n for n in range(1, 224) if n not in (10, 100, 127, 169, 172, 192, 198, 203)]


def _like(version: int, chance: random.Random) -> Route:
    path = (PEER, 20473, chance.choice(TRANSIT), *_tail(chance))
    communities = tuple((20473, chance.randrange(5000)) for _ in range(chance.randrange(2, 6)))
    return Route(
        "0.0.0.0/0" if version == 4 else "::/0",
        path,
        HOPS4 if version == 4 else HOPS6,
        communities=communities,
    )


def _tail(chance: random.Random) -> tuple[int, ...]:
    hops = tuple(chance.randrange(200_000, 400_000) for _ in range(chance.randrange(1, 5)))
    if chance.random() < 0.1:
        return (*hops, *(hops[-1],) * chance.randrange(1, 4))
    return hops
