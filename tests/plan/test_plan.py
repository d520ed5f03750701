"""The plan of the seed's network, and what holds for every network."""

from __future__ import annotations

import json
import random
from ipaddress import IPv4Address, ip_address
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from mesh.limits import MOST_DIRECT
from mesh.plan import Plan, Role
from mesh.plan.document import read_plan, write_plan
from mesh.spec.ids import interface
from tests.kit.stacks import (
    bent,
    long_ids,
    one_node_without_ipv6,
    plan_of,
    prod,
    without_ipv4,
    without_ipv6,
)
from tests.plan.fleets import fleets

# values.md: announced, tunnel
SEED = {
    "lax-vultr-1": ("192.30.120.1", "2620:71:4000::1", "10.10.10.1", "fd00:10:10::1"),
    "ord-vultr-1": ("192.30.120.9", "2620:71:4000::9", "10.10.10.2", "fd00:10:10::2"),
    "mia-vultr-1": ("192.30.120.25", "2620:71:4000::25", "10.10.10.3", "fd00:10:10::3"),
    "ewr-vultr-1": ("192.30.120.17", "2620:71:4000::17", "10.10.10.4", "fd00:10:10::4"),
}

REGIONS = ("lax", "ord", "mia", "ewr")
MIAMI = "mia-vultr-1"
LAX = "lax-vultr-1"


@pytest.mark.parametrize("node_id", SEED)
def test_the_seeds_nodes_have_the_seeds_addresses(node_id: str) -> None:
    node = plan_of(prod()).node(node_id)
    addresses = (*node.announced.both(), *node.tunnel.both())
    assert tuple(str(address) for address in addresses) == SEED[node_id]


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_an_edge_speaks_bgp_with_vultr_as_vultr_prescribes(family: str) -> None:
    sessions = plan_of(prod()).node("lax-vultr-1").upstreams
    (session,) = [s for s in sessions if s.family == family]
    expected = {"ipv4": "169.254.169.254", "ipv6": "2001:19f0:ffff::1"}[family]
    assert (session.peer_asn, str(session.neighbor), session.multihop) == (64515, expected, 2)
    assert session.password == "vultr"


def test_los_angeles_reflects_and_the_others_are_its_clients() -> None:
    plan = plan_of(prod())
    reflector = plan.node("lax-vultr-1")
    assert {s.peer for s in reflector.reflectors if s.client} == set(SEED) - {"lax-vultr-1"}
    for node in plan.nodes:
        if node is not reflector:
            assert {s.peer for s in node.reflectors} == {"lax-vultr-1"}


def test_two_reflectors_are_peers_and_not_each_others_clients() -> None:
    plan = plan_of(bent("reflectors", ["lax-vultr-1", "ewr-vultr-1"]))
    (session,) = [
        s
        for s in plan.node("lax-vultr-1").reflectors
        if s.peer == "ewr-vultr-1" and s.family == "ipv4"
    ]
    assert not session.client


def test_nodes_that_are_no_reflectors_speak_with_each_other_too() -> None:
    plan = plan_of(prod())
    clients = set(SEED) - {"lax-vultr-1"}
    assert plan.node("lax-vultr-1").direct == ()
    for client in clients:
        direct = plan.node(client).direct
        assert {s.peer for s in direct} == clients - {client}
        assert [s.family for s in direct] == ["ipv4", "ipv6"] * (len(clients) - 1)
        assert {s.neighbor for s in direct if s.peer == "mia-vultr-1"} <= set(
            plan.node("mia-vultr-1").tunnel.both()
        )


def test_cost_follows_distance() -> None:
    links = {link.peer: link.cost for link in plan_of(prod()).node("ewr-vultr-1").links}
    assert links == {"ord-vultr-1": 12, "mia-vultr-1": 18, "lax-vultr-1": 39}


def test_without_an_ipv6_prefix_nothing_announced_has_ipv6() -> None:
    plan = plan_of(without_ipv6())
    assert all(node.announced.ipv6 is None for node in plan.nodes)
    assert {s.family for node in plan.nodes for s in node.upstreams} == {"ipv4"}
    assert {s.family for node in plan.nodes for s in node.reflectors} == {"ipv4"}


def test_without_an_ipv4_prefix_nothing_announced_has_ipv4() -> None:
    plan = plan_of(without_ipv4())
    assert [(r.id, r.block) for r in plan.regions] == [(r, None) for r in sorted(REGIONS)]
    for node in plan.nodes:
        assert [str(a) for a in node.announced.both()] == [SEED[node.id][1]]
        assert tuple(str(address) for address in node.tunnel.both()) == SEED[node.id][2:]
        assert {s.family for s in (*node.upstreams, *node.ibgp)} == {"ipv6"}


def test_a_service_of_ipv6_is_not_at_a_node_without_it() -> None:
    values = one_node_without_ipv6()
    del values["services"]["web"]["addresses"]["ipv4"]
    plan = plan_of(values)
    assert [service.nodes for service in plan.services] == [tuple(sorted(set(SEED) - {MIAMI}))]


def test_a_region_more_renumbers_nobody() -> None:
    values = without_ipv4()
    before = plan_of(values)
    values["regions"]["ams"] = {
        "name": "Amsterdam", "location": [52.3, 4.76], "slots": {"vultr-1": 31},
    }  # fmt: skip
    values["nodes"]["ams-vultr-1"] = {"number": 9}
    after = plan_of(values)
    for node in before.nodes:
        now = after.node(node.id)
        assert (now.announced, now.tunnel, now.slot) == (node.announced, node.tunnel, node.slot)
    assert {r.id: r.index for r in before.regions}.items() < {
        r.id: r.index for r in after.regions
    }.items()


def test_a_node_without_ipv6_still_carries_it_for_its_mates() -> None:
    node = plan_of(one_node_without_ipv6()).node("mia-vultr-1")
    assert node.announced.ipv6 is None and node.tunnel.ipv6 is not None
    assert [s.family for s in node.upstreams] == ["ipv4"]


def test_bfd_can_be_set_for_one_link() -> None:
    slow = {"interval": 300, "multiplier": 5}
    plan = plan_of(bent("tunnels/links", {"ewr-vultr-1:lax-vultr-1": slow}))
    for a, b in (("lax-vultr-1", "ewr-vultr-1"), ("ewr-vultr-1", "lax-vultr-1")):
        timers = {link.peer: link.bfd.interval for link in plan.node(a).links}
        assert timers.pop(b) == 300
        assert set(timers.values()) == {150}


def test_the_firewall_lets_the_world_in_at_services_only() -> None:
    plan = plan_of(prod())
    worldly = {(r.zone, r.protocol, r.ports[0]) for r in plan.firewall if r.source == "anyone"}
    assert worldly == {("announced", "tcp", 80), ("announced", "tcp", 443)}


def test_a_tunnel_is_named_after_its_peer_as_far_as_the_kernel_takes_it() -> None:
    """Changed names would end every session over the tunnel."""
    interfaces = {link.peer: link.interface for link in plan_of(long_ids()).node(LAX).links}
    assert interfaces == {
        "ord-vultr-1": "wg-ord-vultr-1",
        "mia-vultr-1": "wg-mia-vultr-1",
        "ewr-vultr-1": "wg-ewr-vultr-1",
        "ewr-hetzner-1": "wg-ewr-3fbaa60",
        "ewr-hetznerserverbank-10": "wg-ewr-77c60bd",
    }


IDS = st.from_regex(r"\A[a-z][a-z0-9]{1,7}-[a-z][a-z0-9]{0,12}-[1-9]\Z").filter(
    lambda i: len(i) <= 24
)


@given(st.sets(IDS, min_size=2, max_size=40))
def test_no_two_tunnels_have_one_name(ids: set[str]) -> None:
    names = {interface(node_id) for node_id in ids}
    assert len(names) == len(ids)
    assert all(len(name) <= 15 for name in names)


def test_on_openbsd_a_tunnel_is_named_after_its_peers_number_and_the_peers_names_stay() -> None:
    before, plan = plan_of(prod()), plan_of(bent(f"nodes/{MIAMI}/os", "openbsd"))
    assert {link.peer: link.interface for link in plan.node(MIAMI).links} == {
        "lax-vultr-1": "wg1", "ord-vultr-1": "wg2", "ewr-vultr-1": "wg4",
    }  # fmt: skip
    others = [node for node in plan.nodes if node.id != MIAMI]
    assert others == [node for node in before.nodes if node.id != MIAMI]


# --- For every network -----------------------------------------------------------------------


def shuffled(values: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same stack file with its maps written in another order."""
    source = random.Random(seed)

    def again(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        source.shuffle(keys)
        return {key: again(value[key]) for key in keys}

    mixed: dict[str, Any] = again(values)
    return mixed


@given(fleets())
def test_no_two_nodes_share_anything(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    for pick in (
        lambda node: node.router_id,
        lambda node: node.underlay_asn,
        lambda node: node.number,
        lambda node: node.announced.both()[0],
        lambda node: node.tunnel.ipv4,
        lambda node: node.tunnel.ipv6,
    ):
        assert len({pick(node) for node in plan.nodes}) == len(plan.nodes)
    announced6 = [n.announced.ipv6 for n in plan.nodes if n.announced.ipv6]
    assert len(set(announced6)) == len(announced6)


@given(fleets())
def test_tunnel_announced_and_service_addresses_are_disjoint(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    kinds = [
        {a for node in plan.nodes for a in node.tunnel.both()},
        {a for node in plan.nodes for a in node.announced.both()},
        {a for service in plan.services for a in service.addresses.both()},
    ]
    for one, other in combinations(kinds, 2):
        assert not one & other
    for address in kinds[1] | kinds[2]:
        assert any(ip_address(str(address)) in prefix for prefix in plan.prefixes.both())


@given(fleets())
def test_both_ends_of_a_tunnel_agree(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    ends = {(node.id, link.peer): link for node in plan.nodes for link in node.links}
    for (here, there), link in ends.items():
        other = ends[there, here]
        assert (link.port, link.local, link.cost) == (other.peer_port, other.remote, other.cost)
        assert (link.mtu, link.bfd) == (other.mtu, other.bfd)
        assert link.peer_asn == plan.node(there).underlay_asn
        assert len(link.interface) <= 15
    for node in plan.nodes:
        ports = [link.port for link in node.links]
        assert len(set(ports)) == len(ports)
        assert len({link.interface for link in node.links}) == len(node.links)


@given(fleets(), st.data())
def test_no_two_tunnels_of_a_node_have_one_name_or_ipv4_address_on_any_system(
    values: dict[str, Any], data: st.DataObject
) -> None:
    several = {*values["reflectors"], *values["registries"]}
    edges = [node for node in values["nodes"] if "-vultr-" in node and node not in several]
    for node in data.draw(st.sets(st.sampled_from(edges))) if edges else ():
        values["nodes"][node]["os"] = "openbsd"
    for node in plan_of(values).nodes:
        names = [link.interface for link in node.links]
        assert len(set(names)) == len(names)
        assert all(name.startswith("wg-") == (node.os == "debian") for name in names)
        own4 = [link.local4 for link in node.links if link.local4]
        assert len(set(own4)) == len(own4) == (len(names) if node.os == "openbsd" else 0)
        assert not {IPv4Address("169.254.169.254"), node.tunnel.ipv4} & set(own4)


@given(fleets())
def test_a_mesh_is_full_or_every_node_reaches_its_region_and_all_reflectors(
    values: dict[str, Any],
) -> None:
    plan = plan_of(values)
    full = len(plan.nodes) <= values["tunnels"]["fullMesh"]
    hubs = {node.id for node in plan.with_role(Role.REFLECTOR)}
    for node in plan.nodes:
        peers = {link.peer for link in node.links}
        expected = {
            mate.id
            for mate in plan.nodes
            if full or mate.id in hubs or node.id in hubs or mate.region == node.region
        } - {node.id}
        assert peers == expected


@given(fleets())
def test_ibgp_has_two_ends_and_one_session_a_family(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    ends = [(node.id, s.peer, s.family) for node in plan.nodes for s in node.ibgp]
    assert len(ends) == len(set(ends))
    assert {(peer, node, family) for node, peer, family in ends} == set(ends)
    everybody = {(a.id, b.id) for a in plan.nodes for b in plan.nodes if a is not b}
    if len(plan.nodes) <= MOST_DIRECT:
        assert {(node, peer) for node, peer, _ in ends} == everybody
    else:
        assert not any(node.direct for node in plan.nodes)


@given(fleets())
def test_sessions_never_mix_families(values: dict[str, Any]) -> None:
    for node in plan_of(values).nodes:
        sessions = [(s.neighbor, s.family) for s in node.upstreams]
        sessions += [(s.neighbor, s.family) for s in node.ibgp]
        for neighbor, family in sessions:
            assert neighbor.version == int(family[-1])


@given(fleets(), st.integers())
def test_the_order_of_the_file_means_nothing(values: dict[str, Any], seed: int) -> None:
    assert plan_of(shuffled(values, seed)) == plan_of(values)


@given(fleets(), st.data())
def test_a_node_that_goes_renumbers_nobody(values: dict[str, Any], data: st.DataObject) -> None:
    keep = {*values["reflectors"], *values["registries"]}
    edges = [node for node in values["nodes"] if "-vultr-" in node]
    keep |= set(edges[:1])  # without any, nobody would announce
    others = sorted(set(values["nodes"]) - keep)
    if not others:
        return
    before = plan_of(values)
    gone = data.draw(st.sampled_from(others))
    del values["nodes"][gone]
    values["tunnels"]["fullMesh"] = 32 if len(before.nodes) <= values["tunnels"]["fullMesh"] else 2
    after = plan_of(values)
    for node in after.nodes:
        was = before.node(node.id)
        assert (node.announced, node.tunnel, node.router_id, node.underlay_asn, node.slot) == (
            was.announced, was.tunnel, was.router_id, was.underlay_asn, was.slot,
        )  # fmt: skip
        if len(after.nodes) > 2:
            assert set(node.links) <= set(was.links)


@given(fleets())
def test_a_plan_survives_being_written_down(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    adapter = TypeAdapter(Plan)
    assert adapter.validate_json(adapter.dump_json(plan)) == plan


def test_a_plan_that_an_earlier_version_has_written_is_read() -> None:
    """The state of a stack holds the plan as text."""
    plan = plan_of(prod())
    document = json.loads(write_plan(plan))
    for service in document["services"]:
        del service["addresses"]["more"]
    assert read_plan(json.dumps(document)) == plan
