"""What a node asks to examine another one, or itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_network
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.agent.config import Config, Underlay, UnderlayLink, UnderlayNode
from mesh.agent.witness.echoes import LEAST, Echo, Way
from mesh.agent.witness.examination import (
    THIRDS,
    Gateway,
    Port,
    Surroundings,
    Tunnel,
    questions,
    thirds,
)

A, B, C, D = "a-1", "b-1", "c-1", "d-1"
NODES = (A, B, C, D)
MTU = 1420
EXIT = ip_address("192.0.2.254")
AROUND = Surroundings(
    {node: Tunnel(Way(f"wg-{node}"), MTU) for node in NODES[1:]},
    {B: Port("203.0.113.2", 8443)},
    Gateway(Way("enp1s0", b"\2\0\0\0\0\1"), ip_address("2001:db8::1")),
)


def node(name: str, *without: str) -> UnderlayNode:
    """A node of the plan with its addresses, but for those of some kinds."""
    number = NODES.index(name) + 1
    own = {
        "tunnel ipv4": f"10.10.10.{number}",
        "tunnel ipv6": f"fd00:10::{number}",
        "announced ipv4": f"192.0.2.{number}",
        "announced ipv6": f"2001:db8:a::{number}",
        "exit": str(EXIT),
    }
    addresses = (ip_address(text) for kind, text in own.items() if kind not in without)
    return UnderlayNode(name, number, tuple(addresses))


def config(*nodes: UnderlayNode, links: tuple[tuple[str, str], ...] | None = None) -> Config:
    """Of A, in a plan with these nodes, and a tunnel between each two of them unless said."""
    ends = links or tuple(combinations([one.id for one in nodes], 2))
    return Config(
        node=A,
        region="a",
        interface="dummy0",
        aggregates=(ip_network("192.0.2.0/24"), ip_network("2001:db8:a::/48")),
        mates=tuple(a for one in nodes[1:] for a in one.addresses[:1] if a.version == 4),
        services=(),
        whoami=False,
        underlay=Underlay(nodes, tuple(UnderlayLink(pair, 10) for pair in ends)),
        tunnels=tuple(f"wg-{one.id}" for one in nodes[1:]),
    )


def both(*names: str) -> set[str]:
    """These names with each family."""
    return {f"{name} ipv{version}" for name in names for version in (4, 6)}


ALL = config(*map(node, NODES))
IPV6_ONLY = config(*(node(name, "announced ipv4") for name in NODES))
CASES = {
    "a node with a tunnel": (ALL, AROUND, C, both("tunnel", "announced", "transit", "detour")),
    "a registry": (
        ALL, AROUND, B, both("tunnel", "announced", "transit", "detour") | {"registry"},
    ),
    "a node without a tunnel to here": (
        ALL, replace(AROUND, tunnels={}), C, both("announced"),
    ),
    "the only other node": (
        config(node(A), node(C)), AROUND, C, both("tunnel", "announced"),
    ),
    "a network that announces IPv6 only": (
        IPV6_ONLY, AROUND, C,
        both("tunnel", "detour") | {"announced ipv6", "transit ipv6"},
    ),
    "itself": (ALL, AROUND, A, {"uplink ipv6"}),
    "itself without a gateway": (ALL, Surroundings(), A, set()),
    "itself in a network of its own": (config(node(A)), AROUND, A, set()),
    "a node that is not in the plan": (config(node(A), node(B)), AROUND, C, set()),
    "in a generation of an earlier version": (
        replace(ALL, underlay=None), AROUND, C, set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_asked_about(case: str) -> None:
    of, around, about, expected = CASES[case]
    found = questions(of, around, about)
    assert {one.name for one in found} == expected
    assert {one.node for one in found} <= {about}


def test_the_tunnel_is_asked_at_full_size_by_the_tunnel_itself() -> None:
    (asked,) = [one.asked for one in questions(ALL, AROUND, C) if one.name == "tunnel ipv4"]
    ends = IPv4Address("10.10.10.1"), IPv4Address("10.10.10.3")
    assert asked == Echo(*ends, size=MTU, way=Way("wg-c-1"))


def test_an_announced_address_is_asked_by_the_routes_that_are_there() -> None:
    (asked,) = [one.asked for one in questions(ALL, AROUND, C) if one.name == "announced ipv4"]
    assert asked == Echo(IPv4Address("10.10.10.1"), IPv4Address("192.0.2.3"), LEAST, None)


def test_transit_is_asked_by_the_node_s_tunnel_to_the_addresses_of_third_nodes() -> None:
    asked = [one.asked for one in questions(ALL, AROUND, C) if one.name == "transit ipv4"]
    assert all(isinstance(one, Echo) and one.way == Way("wg-c-1") for one in asked)
    targets = {str(one.target) for one in asked if isinstance(one, Echo)}
    assert targets == {"192.0.2.2", "192.0.2.4"}, "announced by the two others"


def test_no_packet_goes_to_an_address_that_several_nodes_hold() -> None:
    for of in (ALL, IPV6_ONLY):
        for about in NODES:
            asked = [one.asked for one in questions(of, AROUND, about)]
            assert all(one.target != EXIT for one in asked if isinstance(one, Echo))


@given(st.integers(2, 12), st.data())
def test_third_nodes_are_neighbors_of_the_node_and_always_the_same(
    count: int, data: st.DataObject
) -> None:
    names = [f"n-{number}" for number in range(count)]
    pairs = list(combinations(names, 2))
    links = data.draw(st.lists(st.sampled_from(pairs), unique=True))
    here, about = data.draw(st.sampled_from(pairs))
    plan = Underlay((), tuple(UnderlayLink(pair, 10) for pair in links))
    found = thirds(plan, here, about)
    neighbors = {end for link in links if about in link for end in link} - {here, about}
    assert set(found) <= neighbors and len(found) == min(THIRDS, len(neighbors))
    shuffled = replace(plan, links=tuple(data.draw(st.permutations(plan.links))))
    assert thirds(shuffled, here, about) == found
