"""What the speaker writes is what it reads, and what it writes is what the RFCs draw."""

from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.bgp import messages
from tests.kit.bgp.attributes import FLAGS, READERS, Raw, Route, Segment
from tests.kit.bgp.messages import (
    Capability,
    Message,
    Notification,
    Open,
    RouteRefresh,
    Unreadable,
    Update,
    capabilities,
)

ASN = st.integers(0, 2**32 - 1)
NARROW = st.integers(0, 2**16 - 1)
KNOWN = {*READERS, *FLAGS, 2}
BODY = messages.HEADER


def read(coded: bytes, wide: bool = True) -> Message:
    """One message, back."""
    assert coded[:16] == messages.MARKER
    assert int.from_bytes(coded[16:18], "big") == len(coded)
    return messages.decode(coded[18], coded[BODY:], wide)


@st.composite
def prefixes(draw: st.DrawFn, version: int) -> str:
    if version == 4:
        length = draw(st.integers(0, 32))
        number = draw(st.integers(0, 2**32 - 1)) >> (32 - length) << (32 - length)
        return f"{IPv4Address(number)}/{length}"
    length = draw(st.integers(0, 128))
    # Beyond ::/16, where the two ways to write an address differ.
    number = draw(st.integers(2**112, 2**128 - 1)) >> (128 - length) << (128 - length)
    return f"{IPv6Address(number)}/{length}"


def hops(version: int) -> st.SearchStrategy[object]:
    six = st.integers(1, 2**128 - 1).map(IPv6Address)
    four = st.integers(0, 2**32 - 1).map(IPv4Address)
    return st.one_of(six, st.tuples(six, six), *([four] if version == 4 else []))


PATHS = st.lists(
    st.one_of(
        ASN,
        st.frozensets(ASN, min_size=1, max_size=5),
        st.builds(Segment, st.sampled_from([3, 4]), st.lists(ASN, max_size=3).map(tuple)),
    ),
    max_size=300,
).map(tuple)


@st.composite
def routes(draw: st.DrawFn, version: int) -> Route:
    return Route(
        draw(prefixes(version)),
        draw(PATHS),
        draw(hops(version)),  # type: ignore[arg-type]
        local_pref=draw(st.none() | ASN),
        med=draw(st.none() | ASN),
        communities=tuple(draw(st.lists(st.tuples(NARROW, NARROW), max_size=80))),
        large=tuple(draw(st.lists(st.tuples(ASN, ASN, ASN), max_size=5))),
        extended=tuple(draw(st.lists(st.binary(min_size=8, max_size=8), max_size=5))),
        otc=draw(st.none() | ASN),
        origin=draw(st.sampled_from([None, 0, 1, 2, 9])),
        atomic=draw(st.booleans()),
        aggregator=draw(st.none() | st.tuples(ASN, st.just(IPv4Address("192.0.2.1")))),
        raw=tuple(
            Raw(code, draw(st.binary(max_size=300)), draw(st.sampled_from([0xC0, 0x80, 0xE0])))
            for code in sorted(draw(st.sets(st.integers(1, 255).filter(lambda c: c not in KNOWN))))
        )[:3],
    )


VERSIONS = st.sampled_from([4, 6])


@given(VERSIONS.flatmap(routes))
def test_a_route_comes_back_as_it_went(route: Route) -> None:
    (coded,) = messages.updates([route], size=messages.EXTENDED_SIZE)
    assert read(coded) == Update(announced=(route,))


@given(VERSIONS.flatmap(lambda v: st.lists(prefixes(v), min_size=1, max_size=2000, unique=True)))
def test_many_prefixes_fit_into_as_few_messages_as_they_need(names: list[str]) -> None:
    like = Route(names[0], (64500,), IPv6Address("fe80::1"), communities=((64500, 1),))
    coded = list(messages.updates(replace(like, prefix=name) for name in names))
    assert all(len(each) <= messages.SIZE for each in coded)
    assert len(coded) <= sum(map(len, coded)) // (messages.SIZE - 40) + 1
    found = [read(each) for each in coded]
    assert all(isinstance(each, Update) for each in found)
    said = [r for each in found if isinstance(each, Update) for r in each.announced]
    assert said == [replace(like, prefix=name) for name in names]


@given(st.lists(VERSIONS.flatmap(prefixes), max_size=2000))
def test_what_is_withdrawn_comes_back_in_its_order(names: list[str]) -> None:
    found = [read(each) for each in messages.withdrawals(names)]
    assert [n for each in found if isinstance(each, Update) for n in each.withdrawn] == names
    assert all(isinstance(each, Update) and not each.announced for each in found)


def test_routes_keep_their_order_and_share_a_message_only_with_their_like() -> None:
    one = Route("192.0.2.0/24", (64500,), IPv4Address("192.0.2.1"))
    other = replace(one, prefix="198.51.100.0/24", med=5)
    third = replace(one, prefix="203.0.113.0/24")
    found = [read(each) for each in messages.updates([one, other, third, third, one])]
    assert found == [
        Update(announced=(one,)),
        Update(announced=(other,)),
        Update(announced=(third, third, one)),
    ]


# Written out by hand from RFC 4271 section 4.3, RFC 4760 section 3, RFC 9234 section 5.
HEAD = "ff" * 16
DRAWN = [
    (
        "IPv4",
        Route("192.0.2.0/24", (64500, 4200000000), IPv4Address("198.51.100.1"), med=7),
        f"{HEAD}003a02 0000 001f 40010100 40020a 0202 0000fbf4 fa56ea00 400304c6336401"
        " 80040400000007 18c00002",
    ),
    (
        "IPv6 and a link-local next hop",
        Route(
            "2001:db8::/32",
            (64500,),
            (IPv6Address("2001:db8::1"), IPv6Address("fe80::1")),
            otc=64500,
        ),
        f"{HEAD}005802 0000 0041 40010100 400206 0201 0000fbf4"
        " 800e2a 0002 01 20 20010db8000000000000000000000001 fe800000000000000000000000000001 00"
        " 2020010db8 c023040000fbf4",
    ),
    (
        "an AS_SET, communities, atomic",
        Route(
            "10.0.0.0/8",
            (64500, frozenset({3, 2})),
            IPv4Address("192.0.2.1"),
            communities=((65535, 0),),
            atomic=True,
            local_pref=100,
        ),
        f"{HEAD}004802 0000 002f 40010100 400210 0201 0000fbf4 0102 00000002 00000003"
        " 400304c0000201 40050400000064 400600 c00804ffff0000 080a",
    ),
    (
        "an attribute that replaces ours",
        Route("10.0.0.0/8", (1,), None, origin=None, raw=(Raw(2, b"\x02\x05", 0x40),)),
        f"{HEAD}001e02 0000 0005 4002020205 080a",
    ),
]


@pytest.mark.parametrize(("route", "drawn"), [r[1:] for r in DRAWN], ids=[r[0] for r in DRAWN])
def test_bytes_are_as_drawn(route: Route, drawn: str) -> None:
    (coded,) = messages.updates([route])
    assert coded.hex() == drawn.replace(" ", "")


def test_without_wide_asns_the_old_path_stands_in_and_as4_path_tells() -> None:
    route = Route("10.0.0.0/8", (64500, 4200000001), IPv4Address("192.0.2.1"))
    (coded,) = messages.updates([route], wide=False)
    as4 = Raw(17, bytes.fromhex("0202 0000fbf4 fa56ea01"))
    assert read(coded, wide=False) == Update(
        announced=(replace(route, path=(64500, 23456), raw=(as4,)),)
    )


OTHERS: list[tuple[bytes, Message]] = [
    (messages.end_of_rib(4), Update(end_of=4)),
    (messages.end_of_rib(6), Update(end_of=6)),
    (
        messages.encode_notification(Notification(6, 2, b"\x03bye")),
        Notification(6, 2, b"\x03bye"),
    ),
    (messages.encode_refresh(RouteRefresh(6)), RouteRefresh(6)),
    (messages.message(messages.KEEPALIVE), messages.Keepalive()),
]


@pytest.mark.parametrize(("coded", "expected"), OTHERS)
def test_every_other_message_comes_back(coded: bytes, expected: Message) -> None:
    assert read(coded) == expected


def test_an_open_comes_back_and_tells_its_capabilities() -> None:
    said = capabilities(4200000001, role=messages.CUSTOMER, extended_messages=True)
    opened = Open(4200000001, 9, IPv4Address("192.0.2.1"), (*said, Capability(70, b"\x01")))
    found = read(messages.encode_open(opened))
    assert found == opened
    assert (opened.families, opened.role) == (frozenset({4, 6}), messages.CUSTOMER)
    assert opened.can(messages.EXTENDED_MESSAGE)
    assert not Open(64500, 9, IPv4Address("192.0.2.1")).can(messages.WIDE_ASN)


BROKEN = [
    (messages.UPDATE, "0000 0005 40010100"),
    (messages.UPDATE, "0000 0000 21c0000201"),
    (messages.UPDATE, "0000 0004 4002020205"),
    (messages.OPEN, "04fbf4"),
    (9, ""),
]


@pytest.mark.parametrize(("kind", "body"), BROKEN)
def test_what_cannot_be_read_is_kept_and_ends_nothing(kind: int, body: str) -> None:
    found = messages.decode(kind, bytes.fromhex(body))
    assert isinstance(found, Unreadable)
    assert found.body == bytes.fromhex(body)


def test_a_hundred_thousand_routes_are_written_within_seconds() -> None:
    """The generated corpus and the bench send whole tables."""
    like = Route("10.0.0.0/32", (64500, 64501), IPv4Address("192.0.2.1"))
    names = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}/32" for n in range(100_000)]
    began = time.process_time()  # a busy machine takes none of it
    size = sum(len(each) for each in messages.announcements(like, names))
    assert size > 500_000
    assert time.process_time() - began < 20  # about one
