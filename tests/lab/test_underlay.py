"""The lab's addresses: documentation prefixes, no two alike, and nobody is ever renumbered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_interface,
)

import pytest

from mesh.lab import underlay as lab
from mesh.lab.containers import network_config
from mesh.lab.errors import LabError
from mesh.lab.underlay import World, underlay
from mesh.lab.wiring import NODE_INTERFACE
from mesh.plan import Plan, Region
from mesh.plan.model import Address
from tests.kit.stacks import example, long_ids, plan_of, prod, without_ipv4

DOCUMENTATION = (
    IPv4Network("192.0.2.0/24"),
    IPv4Network("198.51.100.0/24"),
    IPv4Network("203.0.113.0/24"),
    IPv6Network("2001:db8::/32"),
)


def every_address(world: World) -> Iterator[Address]:
    """Each box's own address; gateways of nodes are the same at each provider, as in a cloud."""
    for uplink in world.nodes:
        yield from filter(None, (uplink.ipv4, uplink.ipv6))
    for upstream in world.upstreams:
        yield upstream.gateway6
    for transit in world.transits:
        yield from (transit.exchange4, transit.exchange6)
    for client in world.clients:
        yield from (client.ipv4, client.gateway4, client.ipv6, client.gateway6)
    yield from (world.operator.ipv4, world.operator.ipv6)


def with_regions(count: int) -> Plan:
    """The seed's nodes spread over as many regions, one each."""
    plan = plan_of(prod())
    node = plan.nodes[0]
    regions = tuple(
        Region(f"r{i}", f"R{i}", i, IPv4Network((f"192.30.120.{8 * i}", 29)), (0.0, i * 5.0))
        for i in range(count)
    )
    nodes = tuple(
        replace(
            node,
            id=f"r{i}-vultr-1",
            region=f"r{i}",
            number=i + 1,
            slot=8 * i + 1,
            announced=replace(node.announced, ipv4=IPv4Address("192.30.120.0") + 8 * i + 1),
        )
        for i in range(count)
    )
    return replace(plan, regions=regions, nodes=nodes)


def test_the_seeds_nodes_have_the_addresses_that_their_slots_say() -> None:
    world = underlay(plan_of(prod()))
    assert {u.node: (str(u.ipv4), str(u.ipv6)) for u in world.nodes} == {
        "lax-vultr-1": ("203.0.113.1", "2001:db8:0:1:6d:65ff:fe73:1"),
        "ord-vultr-1": ("203.0.113.9", "2001:db8:1:1:6d:65ff:fe73:2"),
        "ewr-vultr-1": ("203.0.113.17", "2001:db8:2:1:6d:65ff:fe73:4"),
        "mia-vultr-1": ("203.0.113.25", "2001:db8:3:1:6d:65ff:fe73:3"),
    }


def test_who_is_translated_holds_a_private_address_in_a_vpc_of_its_provider() -> None:
    world = underlay(plan_of(example("mixed"), "mixed"))
    assert {
        u.node: (str(u.ipv4), str(u.main), u.length, u.mtu) for u in world.nodes if u.inside
    } == {
        "lax-aws-1": ("203.0.113.3", "172.31.0.3", 23, 1500),
        "ord-gcp-1": ("203.0.113.13", "172.31.0.13", 32, 1460),
    }
    for uplink in world.nodes:
        upstream = world.upstream(uplink.upstream)
        assert (upstream.vpc is not None) == (uplink.inside is not None)
        assert uplink.gateway4 == upstream.gateway4
        if upstream.vpc is not None:
            assert uplink.routers == tuple(r.ipv4 for r in upstream.vpc.routers)
            held = {uplink.inside, upstream.gateway4, upstream.vpc.client4, *uplink.routers}
            assert len(held) == 5
            assert all(address in upstream.vpc.network4 for address in held)
            assert {r.asn for r in upstream.vpc.routers} == {s.peer_asn for s in uplink.vpc}


def test_an_existing_host_has_the_sessions_of_its_own_section() -> None:
    world = underlay(plan_of(example("mixed"), "mixed"))
    uplink = world.node("ewr-buyvm-1")
    assert (str(uplink.ipv4), uplink.inside, uplink.announces) == ("203.0.113.21", None, True)
    assert {(s.peer_asn, str(s.neighbor)) for s in uplink.sessions} == {
        (53667, "192.0.2.1"), (53667, "2001:db8:53:667::1"),
    }  # fmt: skip
    assert world.upstream("upstream-buyvm-ewr").asn == 53667


def test_the_operator_stands_where_the_lab_stack_admits_him() -> None:
    assert str(underlay(plan_of(prod())).operator.ipv4) == "198.51.100.250"


@pytest.mark.parametrize("count", [1, 4, 16, lab.REGION_LIMIT])
def test_all_addresses_are_documentation_and_unique(count: int) -> None:
    world = underlay(with_regions(count))
    addresses = list(every_address(world))
    assert len(set(addresses)) == len(addresses)
    assert all(any(address in net for net in DOCUMENTATION) for address in addresses)
    assert len({transit.asn for transit in world.transits}) == count
    assert all(64496 <= t.asn <= 64511 or 65536 <= t.asn <= 65551 for t in world.transits), (
        "an AS of the lab is somebody's (RFC 5398)"
    )


@pytest.mark.parametrize("gone", ["r0", "r5", "r15"])
def test_removing_a_region_renumbers_nobody(gone: str) -> None:
    plan = with_regions(16)
    fewer = replace(plan, nodes=tuple(node for node in plan.nodes if node.region != gone))
    before, after = underlay(plan), underlay(fewer)
    assert len(after.nodes) == 15
    assert set(after.nodes) < set(before.nodes)
    assert set(after.clients) < set(before.clients)
    assert {t.box: t.asn for t in after.transits}.items() < {
        t.box: t.asn for t in before.transits
    }.items()


def test_a_node_that_leaves_keeps_its_uplink_until_it_is_gone() -> None:
    plan = with_regions(4)
    before = underlay(plan)
    after = underlay(replace(plan, nodes=tuple(n for n in plan.nodes if n.region != "r2")))
    assert lab.keeping(after, before, {"r2-vultr-1"}) == before
    assert lab.keeping(after, before, ()) == after
    assert lab.keeping(before, after, ()) == before


def test_a_region_without_nodes_has_no_box() -> None:
    world = underlay(plan_of(prod()))
    assert [client.box for client in world.clients] == [
        "client-ewr", "client-lax", "client-mia", "client-ord",
    ]  # fmt: skip


def test_a_node_without_ipv6_has_no_ipv6_in_the_lab() -> None:
    plan = plan_of(prod())
    nodes = tuple(replace(node, ipv6=False) for node in plan.nodes)
    assert {u.ipv6 for u in underlay(replace(plan, nodes=nodes)).nodes} == {None}


def test_with_ipv6_alone_everybody_has_the_same_place() -> None:
    """Boxes reach each other over both families, whatever is announced."""
    before, now = underlay(plan_of(prod())), underlay(plan_of(without_ipv4()))
    assert [uplink.ipv4 for uplink in now.nodes] == [uplink.ipv4 for uplink in before.nodes]
    assert {s.family for uplink in now.nodes for s in uplink.sessions} == {"ipv6"}
    assert [client.ipv6 is None for client in now.clients] == [False] * len(before.clients)


def test_two_unknown_providers_of_a_region_have_networks_of_their_own() -> None:
    numbers = {lab.provider_number(name) for name in ("vultr", "buyvm", "hetzner", "ovh", "linode")}
    assert len(numbers) == 5
    assert all(1 <= number < lab.CLIENT_SUBNET for number in numbers)


def test_ports_have_names_that_the_kernel_takes() -> None:
    world = underlay(plan_of(long_ids()))
    ports = {u.node: u.port for u in world.nodes} | {u.box: u.port for u in world.upstreams}
    assert ports["ewr-vultr-1"] == "n-ewr-vultr-1" and ports["upstream-vultr-ewr"] == "u-vultr"
    assert len(set(ports.values())) == len(ports) - len({u.region for u in world.upstreams}) + 1
    assert all(len(port) <= 15 for port in ports.values())


def test_slaac_addresses_are_known_ahead() -> None:
    # The example of RFC 4291, appendix A.
    known = lab.eui64(IPv6Network("2001:db8::/64"), "34:56:78:9a:bc:de")
    assert known == IPv6Address("2001:db8::3656:78ff:fe9a:bcde")


def test_what_does_not_fit_is_refused_with_the_reason() -> None:
    plan = with_regions(1)
    node = replace(
        plan.nodes[0],
        slot=456,
        announced=replace(plan.nodes[0].announced, ipv4=IPv4Address("192.30.121.200")),
    )
    with pytest.raises(LabError, match=r"192\.30\.121\.200 is number 456.*1 to 253"):
        underlay(replace(plan, nodes=(node,)))
    region = replace(plan.regions[0], index=lab.REGION_LIMIT)
    with pytest.raises(LabError, match=r"region r0.*0 to 30"):
        underlay(replace(plan, regions=(region,)))
    with pytest.raises(LabError, match="no node"):
        underlay(replace(plan, nodes=()))
    with pytest.raises(LabError, match="no node 'nowhere'; it has r0-vultr-1"):
        underlay(plan).node("nowhere")


@pytest.mark.parametrize(
    ("neighbor", "local", "interface", "reason"),
    [
        ("203.0.113.1", None, None, r"203\.0\.113\.1 is the main address of lax-vultr-1"),
        ("203.0.113.250", "203.0.113.249/24", "eth1", "the main address of "),
        ("198.51.100.1", None, None, "an address of client-lax or its gateway"),
        ("198.51.100.97", "198.51.100.98/24", "eth1", "an address of client-"),
        ("198.51.100.129", None, None, "an address of transit-lax"),
        ("198.51.100.250", None, None, "the operator's address"),
        ("2001:db8:0:ffff::1", None, None, "an address of client-lax or its gateway"),
        ("2001:db8:ffff::1", "2001:db8:ffff::2/64", "eth1", "an address of transit-"),
    ],
)
def test_a_neighbor_at_an_address_of_the_lab_is_refused(
    neighbor: str, local: str | None, interface: str | None, reason: str
) -> None:
    plan = with_neighbor(neighbor, local, interface)
    where = rf"mesh:nodes\.lax-vultr-1\.upstreams: transit, neighbor {neighbor}: in the lab, "
    with pytest.raises(LabError, match=f"{where}.*{reason}.*192.0.2.0/24 or 2001:db8:100::/40"):
        underlay(plan)


@pytest.mark.parametrize(
    ("neighbor", "local", "interface"),
    [
        ("203.0.113.254", None, None),
        ("203.0.113.250", None, None),
        ("203.0.113.250", "203.0.113.249/30", "eth1"),
        ("192.0.2.1", None, None),
        ("2001:db8:100::1", "2001:db8:100::2/64", "eth1"),
        ("fe80::1", None, "eth1"),
    ],
)
def test_a_neighbor_at_another_address_has_its_place(
    neighbor: str, local: str | None, interface: str | None
) -> None:
    assert underlay(with_neighbor(neighbor, local, interface)).nodes


def with_neighbor(neighbor: str, local: str | None, interface: str | None) -> Plan:
    """The seed's plan, whose node in Los Angeles has one session, with this neighbor."""
    plan = plan_of(prod())
    node = plan.node("lax-vultr-1")
    session = replace(
        node.upstreams[0],
        label="transit",
        neighbor=ip_address(neighbor),
        family="ipv6" if ":" in neighbor else "ipv4",
        local=None if local is None else ip_interface(local),
        interface=interface,
    )
    nodes = tuple(
        replace(each, upstreams=(session,)) if each is node else each for each in plan.nodes
    )
    return replace(plan, nodes=nodes)


def test_a_neighbor_that_no_link_of_the_lab_has_needs_multihop() -> None:
    plan = with_neighbor("192.0.2.1", None, None)
    node = plan.node("lax-vultr-1")
    direct = replace(node, upstreams=(replace(node.upstreams[0], multihop=None),))
    nodes = tuple(direct if each is node else each for each in plan.nodes)
    with pytest.raises(LabError, match=r"upstreams: transit, neighbor 192\.0\.2\.1.*multihop: 2"):
        underlay(replace(plan, nodes=nodes))


def test_the_main_address_of_a_node_is_the_only_one_that_is_preferred() -> None:
    plan = with_neighbor("192.0.2.1", "192.0.2.33/32", None)
    uplink = underlay(plan).node("lax-vultr-1")
    assert [str(address) for address in uplink.sources] == ["192.0.2.33"]
    ethernets = network_config(uplink)["ethernets"]
    assert isinstance(ethernets, dict)
    assert ethernets[NODE_INTERFACE]["addresses"] == ["203.0.113.1/32"]
