"""Routes drawn at random, with an inclination to the edges of every rule."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TypeVar

from hypothesis import strategies as st

from tests.kit.bgp.attributes import Route
from tests.routing.oracle import BOGON_ASNS, BOGONS4, BOGONS6, GLOBAL_UNICAST, TEREDO, Session

T = TypeVar("T")
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
COMMON = (174, 701, 1299, 3356, 13335, 15169, 64495, 131072, 400000)


def mostly(usual: st.SearchStrategy[T], rare: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """The usual, three times of four."""
    return st.sampled_from((usual, usual, usual, rare)).flatmap(lambda chosen: chosen)


def prefixes(session: Session, family: int) -> st.SearchStrategy[str]:
    """Prefixes beside, around and within what some rule is about, and others."""
    bits = BITS[family]
    blocks = [net for net in (*session.own, *session.lans) if net.version == family]
    blocks += BOGONS4 if family == 4 else (*BOGONS6, TEREDO, GLOBAL_UNICAST, *REST6)
    plain = ["8.0.0.0/8", "1.0.0.0/8"] if family == 4 else ["2600::/12", "2a00::/12"]
    about = st.sampled_from([*blocks, *map(ip_network, plain)])

    @st.composite
    def near(draw: st.DrawFn) -> str:
        block = draw(about)
        at = int(draw(st.sampled_from((block.network_address, block.broadcast_address))))
        at += draw(st.sampled_from((-1, 0, 0, 1)))
        around = (block.prefixlen - 1, block.prefixlen, block.prefixlen + 1)
        known = st.sampled_from([*LENGTHS[family], *around])
        length = min(max(draw(known | st.integers(block.prefixlen, bits)), 0), bits)
        if length and draw(st.booleans()):
            at ^= 1 << (bits - draw(st.integers(1, length)))
        return _masked(at % (1 << bits), length, family)

    @st.composite
    def anywhere(draw: st.DrawFn) -> str:
        inside = ip_network(draw(st.sampled_from(plain)))
        length = draw(st.sampled_from((16, 20, 22, 23, 24) if family == 4 else (29, 32, 36, 48)))
        at = int(inside.network_address) + draw(st.integers(0, inside.num_addresses - 1))
        return _masked(at, length, family)

    return near() | anywhere()


def _masked(at: int, length: int, family: int) -> str:
    free = BITS[family] - length
    address = ip_address((at >> free << free).to_bytes(BITS[family] // 8, "big"))
    return f"{address}/{length}"


def paths(session: Session) -> st.SearchStrategy[tuple[int | frozenset[int], ...]]:
    """Paths that begin as they should, mostly, with anything after that."""
    borders = {max(0, asn + by) for pair in BOGON_ASNS for asn in pair for by in (-1, 0, 1)}
    odd = st.sampled_from(sorted({*borders, session.asn, session.peer} - {1 << 32}))
    asn = mostly(st.sampled_from(COMMON), odd)
    one: st.SearchStrategy[int | frozenset[int]] = asn
    member = st.sampled_from((*COMMON[:4], session.peer, session.asn, 64512))
    sets = st.frozensets(member, min_size=1, max_size=3)

    # Of two networks only, in and out of sets: what a set may hide behind.
    tangled: st.SearchStrategy[int | frozenset[int]] = st.sampled_from(
        (174, 3356, frozenset({174}), frozenset({3356}), frozenset({174, 3356}))
    )

    @st.composite
    def drawn(draw: st.DrawFn) -> tuple[int | frozenset[int], ...]:
        step = draw(st.sampled_from((one, one, one | sets, tangled)))
        path = draw(st.lists(step, max_size=5))
        if draw(st.integers(0, 9)):
            path.insert(0, session.peer)
        if not draw(st.integers(0, 9)):
            long = draw(st.integers(98, 102))
            path += [draw(st.sampled_from(COMMON))] * (long - len(path))
        return tuple(path)

    return drawn()


def communities(session: Session) -> st.SearchStrategy[dict[str, object]]:
    """Communities of all kinds: ours, those that mean something to everybody, crowds."""
    first = st.sampled_from((session.asn, 3356, 65535, session.peer & 0xFFFF))
    plain = st.tuples(first, st.sampled_from((0, 1, 666, 65281)))
    large = st.tuples(st.sampled_from((session.asn, 3356)), st.just(65666), st.integers(1, 16))
    kinds = st.sampled_from(("0002", "0003", "0202", "0203"))
    extended = st.builds(_extended, kinds, st.sampled_from((session.asn, 3356)))
    crowd = st.integers(96, 102).map(lambda count: [(3356, 1000 + n) for n in range(count)])
    few = st.lists(plain, max_size=3, unique=True)
    return st.fixed_dictionaries(
        {
            "communities": mostly(few, st.tuples(few, crowd).map(lambda two: two[0] + two[1])).map(
                tuple
            ),
            "large": st.lists(large, max_size=2, unique=True).map(tuple),
            "extended": st.lists(extended, max_size=2, unique=True).map(tuple),
        }
    )


def _extended(kind: str, asn: int) -> bytes:
    """An extended community: a route target or origin of an AS in two or in four octets."""
    width = 2 if kind.startswith("00") else 4
    return bytes.fromhex(kind) + asn.to_bytes(width, "big") + (7).to_bytes(6 - width, "big")


OTHER_HOPS = {4: ("203.0.113.99", "203.0.113.254"), 6: ("2001:db8::99", "2001:db8::ffff")}


def routes(session: Session, family: int) -> st.SearchStrategy[list[Route]]:
    """A handful of announcements, each of another prefix."""
    hops = [session.address] * 8 + list(OTHER_HOPS[family])
    drawn = st.builds(
        lambda prefix, path, hop, rest: Route(prefix, path, ip_address(hop), **rest),
        prefixes(session, family),
        paths(session),
        st.sampled_from(hops),
        st.just({}) | communities(session),
    )
    return st.lists(drawn, min_size=30, max_size=60, unique_by=lambda route: route.prefix)
