"""A node's pf.conf lets through what its nftables ruleset does: the same packets, judged by pf's
rules and by the real kernel."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from mesh.operating_systems import OperatingSystem
from tests.kit.wait import PATIENCE
from tests.pf.cases import arrivals
from tests.pf.differences import DIFFERENCES, SERVICES, meant
from tests.pf.linux import Linux, linux
from tests.pf.packets import Packet
from tests.pf.world import (
    HERE,
    LOOPBACK,
    LOST,
    MEMBER,
    PEER,
    UPLINK,
    End,
    OpenBSD,
    World,
    openbsd,
    pf_conf,
    plan,
)

pytestmark = pytest.mark.image
SERVICE4, SERVICE6 = SERVICES
CLIENT4, CLIENT6 = "198.51.100.77", "2001:db8:9::77"
STRIDE = 5
"""Every fifth packet, in an order of its own: `python -m tests.pf` tries them all."""
CASES = random.Random(19).sample(list(arrivals()), k=len(list(arrivals())))[::STRIDE]
DISCARDED = ("192.30.120.1", "2620:71:4000::13")
WORLDS = {
    "IPv4 is served here, and IPv6 nowhere": ((SERVICE4,), (SERVICE6,)),
    "IPv6 is served here, IPv4 by a peer, and addresses are discarded": (
        (SERVICE6,),
        (),
        DISCARDED,
    ),
}


with_all = pytest.mark.parametrize("judged", [list(WORLDS)[-1]], indirect=True)


@dataclass(frozen=True)
class Judged:
    """A node, and where the packets end at its Debian twin."""

    world: World
    kernel: Linux
    ends: list[End]


@pytest.fixture(scope="module", params=WORLDS)
def judged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judged]:
    world = World(plan(OperatingSystem.DEBIAN), *WORLDS[request.param])
    with linux(world, tmp_path_factory.mktemp("node")) as kernel:
        yield Judged(world, kernel, kernel.received(CASES))


def unexplained(judged: Judged, pf: OpenBSD) -> Iterator[str]:
    """The packets that pf judges otherwise, without a reason."""
    for (packet, interface), nft in zip(CASES, judged.ends, strict=True):
        end = pf.received(packet, interface)
        if end != nft and meant(packet, nft, end) is None:
            yield f"{packet} on {interface}: nft {nft!r}, pf {end!r}"


def test_both_kernels_let_the_same_packets_through(judged: Judged) -> None:
    assert list(unexplained(judged, openbsd(judged.world))) == []
    assert {HERE, LOST, PEER, MEMBER, UPLINK} == set(judged.ends), "each end is one of some packet"


@with_all
def test_each_difference_that_is_meant_is_one(judged: Judged) -> None:
    pf = openbsd(judged.world)
    found = {
        meant(packet, nft, LOST)
        for (packet, interface), nft in zip(CASES, judged.ends, strict=True)
        if nft != LOST and pf.received(packet, interface) is LOST
    }
    assert found == set(DIFFERENCES)


# --- What the node sends itself ------------------------------------------------------------------

SYN = Packet(source=CLIENT4, destination=SERVICE4, port=443)
OWN4, OWN6 = "203.0.113.2", "2001:db8::2"
SENT = {
    "an answer of a service, whose segments are clamped": replace(SYN.answer(), size=8000),
    "one with smaller segments": replace(SYN.answer(), size=500),
    "one of IPv6": Packet(source=SERVICE6, destination=CLIENT6, source_port=443, flags="SA"),
    "from the announced address": Packet(source="192.30.120.9", destination=CLIENT4),
    "from the provider's address, whose segments are its own matter": Packet(
        source=OWN4, destination=CLIENT4, port=443
    ),
    "to a peer": Packet(source="10.10.10.2", destination="10.10.10.1", port=179),
    "to a peer that no tunnel leads to": Packet(source=OWN4, destination="10.10.10.99"),
    "to one of IPv6": Packet(source=OWN6, destination="fd00:10:10::99", protocol="udp"),
    "an echo reply": Packet(source=OWN4, destination=CLIENT4, protocol="icmp", kind="echorep"),
    "an error": Packet(source=SERVICE4, destination=CLIENT4, protocol="icmp", kind="unreach"),
    "a datagram": Packet(source=OWN4, destination=CLIENT4, protocol="udp", port=53),
    "another protocol": Packet(source=OWN4, destination=CLIENT4, protocol="gre"),
    "to the metadata service, as root": Packet(source=OWN4, destination="169.254.169.254", port=80),
    "to the upstream, as root": Packet(source=OWN4, destination="169.254.169.254", port=179),
}


def sent(pf: OpenBSD, packet: Packet) -> tuple[End, int | None]:
    """Where an own packet goes, and the segment size that a SYN has then."""
    end, decision = pf.sent(packet)
    if end is LOST or packet.protocol != "tcp":
        return end, None
    return end, min(packet.size, decision.max_mss or packet.size)


def test_the_node_sends_the_same_with_the_same_segment_size(judged: Judged) -> None:
    found = judged.kernel.sent(SENT.values())
    assert dict(zip(SENT, found, strict=True)) == {
        name: sent(openbsd(judged.world), packet) for name, packet in SENT.items()
    }


CONNECTED = [
    (address, port, user)
    for address, port in (
        ("169.254.169.254", 80), ("169.254.169.254", 179), ("2001:19f0:ffff::1", 179),
        ("169.254.169.254", 443), (CLIENT4, 80),
    )
    for user in (0, 65534)
]  # fmt: skip


def test_who_is_not_root_is_refused_at_the_metadata_service_and_the_upstream(
    judged: Judged,
) -> None:
    for address, port, user in CONNECTED:
        own = OWN6 if ":" in address else OWN4
        packet = Packet(source=own, destination=address, port=port, user=user)
        _, decision = openbsd(judged.world).sent(packet)
        seconds = PATIENCE if decision.resets else 0.1
        refused = judged.kernel.refuses(address, port, user, seconds)
        assert refused == decision.resets, (address, port, user)


# --- Connections ---------------------------------------------------------------------------------

BEGUN = {
    "of the node, answered": (
        Packet(source=OWN4, destination=CLIENT4, port=443, source_port=41000), UPLINK, HERE,
    ),
    "of the node, to a peer whose answer takes another tunnel": (
        Packet(source="fd00:10:10::2", destination="fd00:10:10::1", port=8443, source_port=41001),
        MEMBER, HERE,
    ),
    "of the node, with UDP": (
        Packet(source=OWN6, destination=CLIENT6, protocol="udp", port=53, source_port=41002),
        UPLINK, HERE,
    ),
    "its ping": (
        Packet(source=OWN4, destination=CLIENT4, protocol="icmp", kind="echoreq",
               source_port=41003), UPLINK, HERE,
    ),
    "from the announced address, which nobody tracks": (
        Packet(source="192.30.120.9", destination=CLIENT4, port=5000, source_port=41004),
        UPLINK, LOST,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BEGUN)
def test_answers_come_in_where_the_node_has_begun(judged: Judged, what: str) -> None:
    packet, back, expected = BEGUN[what]
    pf = openbsd(judged.world)
    answer = replace(packet.answer(), source_port=packet.port or packet.source_port)
    assert pf.received(answer, back) == judged.kernel.received([(answer, back)])[0] == LOST
    pf.sent(packet)
    judged.kernel.sent([packet])
    assert pf.received(answer, back) == judged.kernel.received([(answer, back)])[0] == expected


def test_a_node_goes_on_checking_a_service_that_is_given_up(judged: Judged) -> None:
    check = Packet(source=SERVICE6, destination=SERVICE6, port=80)
    pf = openbsd(replace(judged.world, discarded=(SERVICE6,)))
    assert pf.received(replace(check, source=CLIENT6), UPLINK) is LOST
    assert pf.pf.decide(check, "in", LOOPBACK).passes


# --- The judge itself ----------------------------------------------------------------------------

BROKEN: dict[str, str | tuple[str, str]] = {
    "a spoofed source comes in": "block drop in quick on ! wg from { <mesh_aggregates>",
    "a private source comes in": "block drop in quick on ! wg inet from <mesh_private>",
    "what is served elsewhere ends here": ("<mesh_services> rtable 1", "<mesh_services>"),
    "what is served here leaves": ("to <mesh_served> rtable 0", "to <mesh_served>"),
    "no port of a service is closed": (
        "rtable 1 tag mesh_here\nmatch in from any to <mesh_served> rtable 0 tag mesh_here",
        "rtable 1 tag mesh_elsewhere\nmatch in from any to <mesh_served> rtable 0",
    ),
    "nor of the announced one": (
        "match in from any to (self) tagged mesh_elsewhere tag mesh_here\n"
        "match in from any to <mesh_own> tag mesh_here\n", "",
    ),
    "the glass of others is open": "block drop in quick on ! wg proto tcp from any to any port",
    "what is discarded comes in": "block drop in quick inet from any to <mesh_discard4>",
    "nor is IPv6 discarded": "block drop in quick inet6 from any to <mesh_discard6>",
    "transit has a state": ("tagged mesh_elsewhere no state", "tagged mesh_elsewhere"),
    "an announced address has the ports of the other": "block drop in quick tagged mesh_here",
    "tunnels are open": (", !10.10.10.2,", ","),
    "members reach the node": ("to ! (self)", "to any"),
    "members reach all on the link": "block drop in quick on wg from any to { 224",
    "a client's packet is not forwarded": (
        "<mesh_aggregates> no state received-on any", "<mesh_aggregates> no state received-on wg",
    ),
    "anybody's reply leaves": ("on uplink from <mesh_repliers>", "on uplink from any"),
    "tunnels are reached from outside": ("<mesh_tunnels> no state received-on wg",
                                         "<mesh_tunnels> no state received-on any"),
    "who may connect may be forwarded": "block drop out quick all received-on any",
}  # fmt: skip
"""Mutants of pf.conf: a line is left out, or a text becomes another one."""


def broken(conf: str, what: str | tuple[str, str]) -> str:
    """The file with one of them."""
    if isinstance(what, str):
        lines = conf.splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(what)]
        assert len(kept) == len(lines) - 1, f"one line begins with {what}"
        return "".join(kept)
    old, new = what
    assert conf.count(old) == 1, f"{old} is there once"
    return conf.replace(old, new)


@with_all
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_noticed(judged: Judged, name: str) -> None:
    pf = openbsd(judged.world, broken(pf_conf(), BROKEN[name]))
    assert next(unexplained(judged, pf), ""), name


@with_all
@pytest.mark.parametrize(
    "what", [("max-mss 1340", "max-mss 1341"), ("max-mss 1320", "max-mss 1400"),
             "block drop out quick on ! wg from any to <mesh_tunnels>"],
)  # fmt: skip
def test_a_broken_rule_for_what_is_sent_is_noticed(
    judged: Judged, what: str | tuple[str, str]
) -> None:
    pf = openbsd(judged.world, broken(pf_conf(), what))
    right = openbsd(judged.world)
    assert any(sent(pf, packet) != sent(right, packet) for packet in SENT.values())
