"""What a peer in other hands can try, over the underlay and over iBGP, and what comes of it.

Each row is sent by a speaker that obeys no policy. Asserted over all routes of all the kernel's
tables, both families: nothing but owned host routes through the rogue's own tunnel ever comes, and
when the rogue takes back what it said, all is as before.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from tests.kit.bgp.attributes import (
    OPTIONAL,
    TRANSITIVE,
    NextHop,
    Path,
    Raw,
    Route,
    Segment,
    encode,
    nlri,
)
from tests.kit.bgp.messages import Capability, capabilities, raw_update
from tests.kit.bgp.speaker import Speaker
from tests.kit.wait import until
from tests.routing.conftest import ROGUE, NodeAndRogue

pytestmark = pytest.mark.image
LAX, ORD, MIA, EWR = (4200000000 + number for number in (1, 2, 3, 4))
NETWORK = 27218
LINK = IPv6Address("fe80::3")
SERVED4, SERVED6 = IPv4Address("10.10.10.3"), IPv6Address("fd00:10:10::3")
TUNNEL, SERVICE = "u_mia_vultr_1", "mate4_mia_vultr_1"
OWN = ("10.10.10.3/32", "192.30.120.25/32", "fd00:10:10::3/128", "2620:71:4000::25/128")

AIGP_ZERO = Raw(26, struct.pack("!BHQ", 1, 11, 0), OPTIONAL)
ORIGINATOR = Raw(9, IPv4Address("10.10.10.1").packed, OPTIONAL)
CLUSTERS = Raw(10, IPv4Address("10.10.10.1").packed * 3, OPTIONAL)
UNKNOWN = Raw(99, b"\xff" * 300, OPTIONAL | TRANSITIVE)
MANY = tuple((65535, n) for n in range(300))
WIDE = tuple((NETWORK, n, n) for n in range(150))


@dataclass(frozen=True)
class Attack:
    """What is said; ``taken`` of it are host routes that the plan allows the rogue."""

    name: str
    routes: tuple[Route, ...]
    taken: frozenset[str] = frozenset()


def refused(name: str, *prefixes: str, path: Path = (MIA,), hop: NextHop = LINK) -> Attack:
    return Attack(name, tuple(Route(prefix, path, hop) for prefix in prefixes))


def taken(name: str, *routes: Route) -> Attack:
    return Attack(name, routes, frozenset(route.prefix for route in routes))


ORDS = Route("192.30.120.9/32", (MIA, ORD), LINK)
EVERYWHERE = (
    refused("a default route", "0.0.0.0/0", "::/0"),
    refused("a default route in halves", "0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"),
    refused("all that is routed", "2000::/3", "64.0.0.0/2", "1.0.0.0/8"),
    refused("pieces around owned hosts", "192.30.120.0/31", "192.30.120.8/30", "10.10.10.2/31",
            "2620:71:4000::8/127", "2620:71:4000::8/126", "fd00:10:10::2/127"),
    refused("halves of the aggregates", "192.30.120.0/24", "192.30.121.0/24", "192.30.120.0/23",
            "2620:71:4000::/49", "2620:71:4000:8000::/49", "2620:71:4000::/48"),
    refused("what covers the aggregates", "192.30.0.0/16", "192.30.120.0/22", "2620:71::/32"),
    refused("all tunnels", "10.10.10.0/24", "10.0.0.0/8", "fd00:10:10::/64", "fd00::/8"),
    refused("multicast", "224.0.0.0/4", "239.1.1.1/32", "ff02::/16", "ff02::5/128"),
    refused("link-local", "169.254.0.0/16", "169.254.169.254/32", "fe80::/10", "fe80::1/128"),
    refused("loopback", "127.0.0.0/8", "127.0.0.1/32", "::1/128", "0.0.0.0/32", "::/128"),
    refused("broadcast", "255.255.255.255/32", "240.0.0.0/4"),
    refused("a registry's and a resolver's", "203.0.113.1/32", "8.8.8.8/32", "2001:db8::1/128"),
    refused("the node's own", "192.30.120.1/32", "10.10.10.1/32", "fd00:10:10::1/128"),
)  # fmt: skip

UNDERLAY = (
    *EVERYWHERE,
    refused("services", "192.30.120.100/32", "192.30.120.101/32", "2620:71:4000::100/128"),
    refused("another's tunnel", "10.10.10.2/32", "fd00:10:10::2/128"),
    refused("another's address at a third one", "192.30.120.9/32", path=(MIA, EWR)),
    refused("a node that nobody knows", "192.30.120.9/32", path=(MIA, 4200000009, ORD)),
    refused("a tunnel to oneself", "192.30.120.9/32", path=(MIA, MIA, ORD)),
    refused("a way back through here", "192.30.120.9/32", path=(MIA, LAX, ORD)),
    refused("a long way", "192.30.120.9/32", path=(MIA, EWR, MIA, ORD)),
    refused("a very long way", "192.30.120.9/32", path=(MIA,) * 300 + (ORD,)),
    refused("another's first AS", "192.30.120.9/32", path=(ORD,)),
    refused("no path", "192.30.120.25/32", path=()),
    refused("an AS_SET", "192.30.120.9/32", path=(MIA, frozenset({ORD}))),
    refused("an AS_SET before the origin", "192.30.120.9/32", path=(MIA, frozenset({EWR}), ORD)),
    refused("a confederation", "192.30.120.9/32", path=(Segment(3, (MIA,)), MIA, ORD)),
    *(
        refused(f"AS {asn} on the way", "192.30.120.9/32", path=(MIA, asn, ORD))
        for asn in (0, 1, 23456, 65535, 65536, 4199999999, 4200065536, 4294967294, 4294967295)
    ),
    refused("a next hop outside", "192.30.120.9/32", path=(MIA, ORD), hop=IPv4Address("8.8.8.8")),
    refused("a next hop at the upstream", "192.30.120.9/32", path=(MIA, ORD),
            hop=IPv4Address("169.254.169.254")),
    refused("a next hop that is us", "192.30.120.9/32", path=(MIA, ORD),
            hop=IPv4Address("10.10.10.1")),
    refused("a next hop of the world", "2620:71:4000::9/128", path=(MIA, ORD),
            hop=IPv6Address("2001:db8::66")),
    taken("its own", *(Route(prefix, (MIA,), LINK) for prefix in OWN)),
    taken("a way to another", ORDS, Route("fd00:10:10::2/128", (MIA, ORD), LINK)),
    taken("a metric of nothing", replace(ORDS, raw=(AIGP_ZERO,))),
    taken("a metric that breaks off", replace(ORDS, raw=(replace(AIGP_ZERO, value=b"\1\0\2"),))),
    taken("preferences", replace(ORDS, local_pref=4_294_967_295, med=0)),
    taken("a call to discard", replace(ORDS, communities=((65535, 666), (65535, 65281)))),
    taken("a call to hide", replace(ORDS, communities=((65535, 65282), (65535, 65283)))),
    taken("hundreds of communities", replace(ORDS, communities=MANY, large=WIDE)),
    taken("words for customers only", replace(ORDS, otc=MIA)),
    taken("words for customers of 0", replace(ORDS, otc=0)),
    taken("a reflector's words", replace(ORDS, raw=(ORIGINATOR, CLUSTERS))),
    taken("words that nobody knows", replace(ORDS, raw=(UNKNOWN,))),
)  # fmt: skip

WEB = Route("192.30.120.100/32", (), SERVED4)
EAST = Route("192.30.120.101/32", (), SERVED4)
EAST6 = Route("2620:71:4000::101/128", (), SERVED6)


def inside(attack: Attack) -> Attack:
    """The same over iBGP: no path, and the rogue's tunnel address as next hop."""
    routes = (replace(r, path=(), next_hop=SERVED4 if r.family == 4 else SERVED6)
              for r in attack.routes)  # fmt: skip
    return replace(attack, routes=tuple(routes))


def at(name: str, hop: str) -> Attack:
    return Attack(name, (replace(EAST, next_hop=IPv4Address(hop)),))


IBGP = (
    *(inside(attack) for attack in EVERYWHERE),
    refused("others' addresses", "192.30.120.9/32", "10.10.10.2/32", path=(), hop=SERVED4),
    at("a service at another that may serve it", "10.10.10.4"),
    at("a service at one that may not", "10.10.10.2"),
    at("a service at us", "10.10.10.1"),
    at("a service at a host outside", "203.0.113.66"),
    at("a service at the upstream", "169.254.169.254"),
    at("a service at the rogue's other address", "192.30.120.25"),
    at("a service at a service", "192.30.120.101"),
    at("a service nowhere", "0.0.0.0"),
    at("a service at loopback", "127.0.0.1"),
    Attack("an IPv6 service at another", (replace(EAST6, next_hop=IPv6Address("fd00:10:10::4")),)),
    Attack("a call to discard by IPv6", (replace(EAST6, communities=((65535, 666),)),)),
    Attack("a service with a path", (replace(EAST, path=(64500,)),)),
    Attack("a service with our own AS", (replace(EAST, path=(NETWORK,)),)),
    Attack("a service with an AS_SET", (replace(EAST, path=(frozenset({1, 2}),)),)),
    Attack("somebody else's instance", (replace(EAST, raw=(ORIGINATOR,)),)),
    Attack("an instance from afar", (replace(EAST, raw=(CLUSTERS,)),)),
    *(
        Attack(f"a call to discard {what}", (replace(route, communities=((65535, 666),)),))
        for what, route in (
            ("a service", WEB),
            ("its own address", replace(WEB, prefix="192.30.120.25/32")),
            ("another's address", replace(WEB, prefix="192.30.120.9/32")),
            ("an unused address", replace(WEB, prefix="192.30.121.200/32")),
            ("the world", replace(WEB, prefix="0.0.0.0/0")),
            ("a tunnel", replace(WEB, prefix="10.10.10.2/32")),
        )
    ),
    taken("a service that it may serve", EAST),
    taken("the same by IPv6", EAST6),
    taken("preferences", replace(EAST, local_pref=4_294_967_295, med=0)),
    taken("a metric of nothing", replace(EAST, raw=(AIGP_ZERO,))),
    taken("a call to hide", replace(EAST, communities=((65535, 65282), (65535, 65281)))),
    taken("hundreds of communities", replace(EAST, communities=MANY, large=WIDE)),
    taken("words for customers only", replace(EAST, otc=NETWORK)),
    taken("words that nobody knows", replace(EAST, raw=(UNKNOWN,))),
)  # fmt: skip


# --- What the kernel holds -----------------------------------------------------------------------


def kernel(bench: NodeAndRogue) -> frozenset[str]:
    """Every route of every table of the node's kernel, both families."""
    return frozenset(
        json.dumps(each, sort_keys=True)
        for family in (4, 6)
        for each in bench.kernel.show(family, "route show table all")
        # An interface's own, which comes once its address has been found to be free.
        if not (each["dst"].startswith("fe80:") and each.get("protocol") == "kernel")
    )


def rules(bench: NodeAndRogue) -> list[dict[str, Any]]:
    return [rule for family in (4, 6) for rule in bench.kernel.show(family, "rule show")]


def hosts(routes: frozenset[str]) -> dict[str, dict[str, Any]]:
    """Routes by their prefix, with its length."""
    read = [json.loads(route) for route in routes]
    whole = {True: 128, False: 32}
    return {
        r["dst"] if "/" in r["dst"] else f"{r['dst']}/{whole[':' in r['dst']]}": r for r in read
    }


def check(before: frozenset[str], after: frozenset[str], attack: Attack, interface: str) -> None:
    """Only what is the rogue's own may go by its word, and what comes are allowed hosts through its
    tunnel."""
    assert set(hosts(before - after)) <= set(OWN) & {route.prefix for route in attack.routes}
    come = hosts(after - before)
    assert set(come) <= attack.taken
    for route in come.values():
        assert route["dev"] == interface and route["protocol"] == "bird"
        assert route.get("type", "unicast") == "unicast"


# --- Attacks -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tunnel(bench: NodeAndRogue) -> Iterator[Speaker]:
    """The rogue's session on the tunnel, with its own addresses said."""
    speaker = bench.speak("fe80::3", "fe80::1", MIA, "wg-lax-vultr-1")
    say_own(bench, speaker)
    yield speaker
    speaker.close()


def say_own(bench: NodeAndRogue, speaker: Speaker) -> None:
    speaker.announce(*(Route(prefix, (MIA,), LINK) for prefix in OWN))
    until(lambda: all(map(bench.kernel.has, OWN)), 5, "its own are taken")


Mates = dict[int, Speaker]


@pytest.fixture(scope="module")
def mates(bench: NodeAndRogue, tunnel: Speaker) -> Iterator[Mates]:
    """The rogue's iBGP sessions by IP version: it is our client."""
    speakers = {
        4: bench.speak("10.10.10.3", "10.10.10.1", NETWORK, None),
        6: bench.speak("fd00:10:10::3", "fd00:10:10::1", NETWORK, None),
    }
    yield speakers
    for speaker in speakers.values():
        speaker.close()


def settled(bench: NodeAndRogue, speaker: Speaker, mark: Route) -> frozenset[str]:
    """The kernel's routes once BIRD has read all that was said: a mark has come and gone."""
    speaker.announce(mark)
    until(lambda: bench.kernel.has(mark.prefix), 15, "the mark has come")
    speaker.withdraw(mark.prefix)
    until(lambda: not bench.kernel.has(mark.prefix), 15, "the mark has gone")
    return kernel(bench)


def is_as_before(bench: NodeAndRogue, before: frozenset[str]) -> None:
    """The mark says nothing of the other family's table: BIRD 3 brings each to the kernel by
    itself."""
    until(lambda: kernel(bench) == before, 15, "the kernel has what it had before")


def held(bench: NodeAndRogue, protocol: str) -> set[str]:
    """What BIRD has taken from a session."""
    text = bench.birdc(f"show route protocol {protocol}")
    return set(re.findall(rf"^(\S+) +\w+ \[{protocol} ", text, re.MULTILINE))


MARK = Route("10.10.10.4/32", (MIA, EWR), LINK)
WEB6 = Route("2620:71:4000::100/128", (), SERVED6)


@pytest.mark.parametrize("attack", UNDERLAY, ids=lambda attack: attack.name)
def test_over_the_tunnel(bench: NodeAndRogue, tunnel: Speaker, attack: Attack) -> None:
    before, ruled = settled(bench, tunnel, MARK), rules(bench)
    tunnel.announce(*attack.routes)
    check(before, settled(bench, tunnel, MARK), attack, bench.interface)
    said_by_it = {route.prefix for route in attack.routes}
    # What it said of its own addresses in a wrong way has taken them back (RFC 7606).
    assert held(bench, "u_mia_vultr_1") & said_by_it - set(OWN) == attack.taken - set(OWN)
    tunnel.withdraw(*(said_by_it - set(OWN)))
    say_own(bench, tunnel)
    settled(bench, tunnel, MARK)
    is_as_before(bench, before)
    assert rules(bench) == ruled
    assert tunnel.established.is_set(), "no word costs the session"


@pytest.mark.parametrize("attack", IBGP, ids=lambda attack: attack.name)
def test_over_ibgp(bench: NodeAndRogue, mates: Mates, attack: Attack) -> None:
    marks = {
        4: WEB if EAST.prefix in {r.prefix for r in attack.routes} else EAST,
        6: WEB6 if EAST6.prefix in {r.prefix for r in attack.routes} else EAST6,
    }

    def all_read() -> frozenset[str]:
        for version, speaker in mates.items():
            settled(bench, speaker, marks[version])
        return kernel(bench)

    before = all_read()
    for route in attack.routes:
        mates[route.family].announce(route)
    check(before, all_read(), attack, bench.interface)
    said_by_it = {route.prefix for route in attack.routes}
    taken_of_it = held(bench, "mate4_mia_vultr_1") | held(bench, "mate6_mia_vultr_1")
    assert taken_of_it & said_by_it == attack.taken
    for route in attack.routes:
        mates[route.family].withdraw(route.prefix)
    all_read()
    is_as_before(bench, before)
    assert all(speaker.established.is_set() for speaker in mates.values())


def test_what_a_way_costs_is_not_for_a_mate_to_say(bench: NodeAndRogue, tunnel: Speaker) -> None:
    """By the plan Miami is 38 from here, and Chicago 19 from there."""
    tunnel.announce(replace(ORDS, raw=(AIGP_ZERO,), med=0, local_pref=4_294_967_295))
    settled(bench, tunnel, MARK)
    text = bench.routes(ORDS.prefix)
    tunnel.withdraw(ORDS.prefix)
    assert re.search(r"igp_metric: 57\b", text) and re.search(r"local_pref: 999943\b", text)
    assert "aigp" not in text.lower()


def test_a_mate_takes_back_only_what_it_has_said(
    bench: NodeAndRogue, tunnel: Speaker, mates: Mates
) -> None:
    before = settled(bench, tunnel, MARK)
    tunnel.withdraw("0.0.0.0/0", "192.30.120.0/23", "192.30.120.1/32", "10.10.10.1/32", "::/0")
    tunnel.withdraw("2620:71:4000::/48", "fd00:10:10::1/128", "192.30.120.9/32")
    mates[4].withdraw("192.30.120.0/23", "10.10.10.3/32", "192.30.120.25/32", "192.30.120.1/32")
    settled(bench, mates[4], EAST)
    settled(bench, tunnel, MARK)
    is_as_before(bench, before)


def test_a_route_that_comes_and_goes_a_hundred_times_leaves_nothing(
    bench: NodeAndRogue, tunnel: Speaker
) -> None:
    before = settled(bench, tunnel, MARK)
    for _ in range(100):
        tunnel.announce(ORDS)
        tunnel.withdraw(ORDS.prefix)
    settled(bench, tunnel, MARK)
    is_as_before(bench, before)
    assert tunnel.established.is_set()


JUNK = [f"8.{n >> 16}.{n >> 8 & 255}.{n & 255}/32" for n in range(10_000)]


def routing_memory(bench: NodeAndRogue) -> float:
    """Kilobytes that BIRD's tables and attributes take."""
    units = {"B": 1e-3, "kB": 1.0, "MB": 1e3}
    found = re.findall(
        r"^Rout(?:ing tables|e attributes): +([\d.]+) +(\w+)",
        bench.birdc("show memory"),
        re.MULTILINE,
    )
    return sum(float(number) * units[unit] for number, unit in found)


def test_ten_thousand_routes_cost_no_memory_and_their_session_only(
    bench: NodeAndRogue, tunnel: Speaker
) -> None:
    """What is above the limit is passed over until the session is a new one."""
    before, memory = settled(bench, tunnel, MARK), routing_memory(bench)
    junk6 = [f"2001:db8::{n:x}/128" for n in range(10_000)]

    def shown(pattern: str) -> bool:
        """Of both families' channels."""
        return len(re.findall(pattern, bench.birdc("show protocols all u_mia_vultr_1"))) == 2

    tunnel.announce_all(Route("8.0.0.0/32", (MIA,), LINK), JUNK)
    tunnel.announce_all(Route("2001:db8::/128", (MIA,), LINK), junk6)
    until(lambda: shown(r"Import updates: +10\d\d\d"), 20, "all is read")
    assert shown(r"Receive limit: +112 \[HIT\]")
    # Kept, they are 3 MB. BIRD 3 leaves its index of prefixes as large as it once had to be: 3 MB
    # after 50,000, and the same after 200,000 (measured).
    room = 2500 if bench.birdc("show status").startswith("BIRD 3") else 200
    assert routing_memory(bench) < memory + room
    tunnel.withdraw(*JUNK, *junk6)
    until(lambda: shown(r"Routes: +2 imported, 0 filtered"), 20, "all is taken back")
    is_as_before(bench, before)
    assert tunnel.established.is_set()


def test_a_new_session_after_a_flood_is_as_good_as_any(
    bench: NodeAndRogue, tunnel: Speaker
) -> None:
    tunnel.close()
    until(lambda: not any(map(bench.kernel.has, OWN)), 15, "what it said is gone")
    tunnel.establish("fe80::3", "fe80::1", "wg-lax-vultr-1")
    say_own(bench, tunnel)
    check(before := settled(bench, tunnel, MARK), before, UNDERLAY[0], bench.interface)
    assert set(OWN) <= set(hosts(before))


def test_ten_thousand_paths_to_one_service_cost_no_memory(
    bench: NodeAndRogue, mates: Mates
) -> None:
    """Additional paths (RFC 7911) of a service that it may serve: each of them is a valid route."""
    mates[4].close()
    memory = routing_memory(bench)
    both_ways = Capability(69, struct.pack("!HBB", 1, 1, 3))
    speaker = Speaker(
        NETWORK,
        bench.rogue.router_id,
        said=(*capabilities(NETWORK), both_ways),
        namespace=bench.namespaces[ROGUE],
    )
    speaker.establish("10.10.10.3", "10.10.10.1")
    attributes = encode(EAST, None)
    for number in range(10_000):
        path = struct.pack("!I", number) + nlri(EAST.prefix)
        speaker.send(raw_update(attributes, path))
    limit = re.compile(r"Receive limit: +(\d+) \[HIT\]")
    (number,) = until(
        lambda: limit.findall(bench.birdc("show protocols all mate4_mia_vultr_1")), 20, "the limit"
    )
    assert len(re.findall("mate4_mia_vultr_1", bench.birdc(f"show route {EAST.prefix}"))) == int(
        number
    )
    assert routing_memory(bench) < memory + 500
    assert speaker.established.is_set()
    speaker.close()
    until(lambda: not bench.kernel.has(EAST.prefix), 10, "it is gone with its session")
    mates[4].establish("10.10.10.3", "10.10.10.1")
    assert EAST.prefix not in hosts(settled(bench, mates[4], EAST))
