"""Sessions of ``upstreams`` in the plan, in the firewall, and in the lab."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

import pytest

from mesh.lab.routers import bgpd_config, neighbor_config, speaks_openbgpd
from mesh.lab.underlay import underlay
from mesh.render import File, firewall
from tests.kit.machine import Debian
from tests.kit.stacks import example, plan_of, with_members, with_sessions

NODE = "ewr-buyvm-1"


def test_a_node_has_its_providers_sessions_first_and_then_its_own() -> None:
    sessions = plan_of(with_sessions()).node(NODE).upstreams
    assert [each.name for each in sessions] == [
        "buyvm4", "buyvm6", "up4_transit_b", "up4_rs1", "up6_rs1", "up4_rs2", "up6_rs2",
        "up6_neighbor", "up6_far",
    ]  # fmt: skip
    assert [each.hold_time for each in sessions] == [9, 9, 60, 30, 30, 30, 30, 30, 30]
    assert {each.password for each in sessions} == {"buyvm", f"{NODE}-transit-b", None}


def test_other_nodes_and_the_provider_s_sessions_are_as_without_them() -> None:
    before, after = plan_of(with_members()), plan_of(with_sessions())
    for node in before.nodes:
        kept = after.node(node.id).upstreams[: len(node.upstreams)]
        assert kept == node.upstreams


def test_a_rule_reaches_the_sessions_that_it_names() -> None:
    values = with_sessions()
    values["traffic"] = [
        {"name": "less", "sessions": ["transit-b", "far"], "prepend": 2},
        {"name": "first", "sessions": ["rs1"], "localPreference": 300},
    ]
    sessions = {each.name: each.steering for each in plan_of(values).node(NODE).upstreams}
    assert {name for name, each in sessions.items() if each.prepend} == {"up4_transit_b", "up6_far"}
    assert sessions["up4_rs1"].local_preference == 300  # the rule's
    assert sessions["up4_rs2"].local_preference == 120  # the session's own
    assert [tag.community for tag in sessions["up4_transit_b"].tags] == [(64510, 100)]


def test_a_neighbor_on_an_interface_is_let_in_from_there_only() -> None:
    plan = plan_of(with_sessions())
    node = plan.node(NODE)
    lines = firewall.rules(plan, node)["uplink"]
    accepted = 'tcp dport 179 accept comment "bgp-upstream"'
    assert f'iifname "eth1" ip saddr 192.0.2.9 {accepted}' in lines
    assert f'iifname "eth1.20" ip6 saddr fe80::1 {accepted}' in lines
    bfd = [line for line in lines if "bfd-upstream" in line and "iifname" in line]
    assert [line.split(" ")[1] for line in bfd] == ['"eth1"']
    groups = {group.name: group.elements for group in firewall.groups(plan, node, {})}
    assert groups["upstreams4"] == ("192.0.2.1",)
    assert groups["upstreams6"] == ("2001:db8::1", "2001:db8:b::1")


def test_a_twin_has_a_router_for_each_neighbor_and_a_lan_for_each_interface() -> None:
    world = underlay(plan_of(example("ixp"), "ixp"))
    node = "fra-hoster-1"
    assert [each.box for each in world.neighbors] == [
        f"upstream-{node}-transit", f"upstream-{node}-rs1", f"upstream-{node}-rs2"
    ]  # fmt: skip
    uplink = world.node(node)
    assert [(lan.name, lan.bridge) for lan in uplink.lans] == [
        ("eth1", f"upstream-{node}-transit"), ("ix0", f"upstream-{node}-rs1")
    ]  # fmt: skip
    assert uplink.lans[1].addresses == (
        ip_interface("192.0.2.130/25"), ip_interface("2001:db8:b::130/64")
    )  # fmt: skip
    assert uplink.sessions == ()
    assert uplink.announces


def test_a_router_of_the_lab_speaks_as_the_stack_file_says() -> None:
    world = underlay(plan_of(example("ixp"), "ixp"))
    passwords = {"fra-hoster-1-transit": "s3cret"}
    transit, server, _ = (neighbor_config(world, each, passwords) for each in world.neighbors)
    for said in ("ttl security on;", "bfd on;", 'password "s3cret";', "(64510, 666)"):
        assert said in transit
        assert said not in server
    assert server.count("rs client;") == 2


def test_a_router_of_the_lab_takes_every_prefix_that_its_node_announces() -> None:
    keys = example("ixp")
    keys["prefixes"]["ipv6"] = [keys["prefixes"]["ipv6"], "2620:71:4001::/48"]
    world = underlay(plan_of(keys, "ixp"))
    config = neighbor_config(world, world.neighbors[0], {"fra-hoster-1-transit": "s3cret"})
    for taken in ("192.30.120.0/23{23,24}", "2620:71:4000::/48{48,48}", "2620:71:4001::/48{48,48}"):
        assert config.count(f"net ~ [ {taken} ]") == 1


def test_openbgpd_has_the_sessions_without_bfd() -> None:
    world = underlay(plan_of(example("ixp"), "ixp"))
    sessions = [session for each in world.neighbors for session in each.sessions]
    assert [speaks_openbgpd(each) for each in sessions] == [False] * 2 + [True] * 4
    for each in world.neighbors[1:]:
        router = neighbor_config(world, each, {}, openbgpd=True)
        assert "192.0.2.130 as 27218" not in router
        assert "neighbor 127.0.0.1 port 1179 as 64509;" in router


@pytest.mark.image
def test_openbgpd_takes_each_configuration(tmp_path: Path) -> None:
    passwords = {"fra-hoster-1-transit": "a \\ key", "ams-hoster-1-second": "s3cret"}
    machine = Debian(tmp_path, also=("openbgpd",))
    for name in ("ixp", "transits"):
        world = underlay(plan_of(example(name), name))
        for each in world.neighbors:
            for known in (None, passwords):
                config = bgpd_config(world, each, known, Path("/run/bgpd.sock"))
                machine.put([File("/etc/bgpd.conf", config, 0o600)])
                ready = "systemd-sysusers openbgpd.conf && bgpd -n"
                done = machine.run("sh", "-c", ready)
                assert done.returncode == 0, f"{done.stderr}{config}"
