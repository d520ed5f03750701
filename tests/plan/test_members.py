"""Members (AWS, GCP) and existing hosts in the plan: what they are, and what they are not."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest

from mesh.plan import Plan, Role
from mesh.render import node_files, placeholder_facts, placeholder_placements
from mesh.spec import load
from tests.kit.stacks import EXISTING, ROOT, bent, example, plan_of, prod, with_members

MEMBERS = ("lax-aws-1", "ord-gcp-1")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(with_members())


def files(plan: Plan, node: str) -> dict[str, str]:
    """What a node of it would get, by path."""
    rendered = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    return {file.path: file.content for file in rendered[node].files}


@pytest.mark.parametrize("node", MEMBERS)
def test_a_member_has_tunnels_and_reflectors_and_no_upstream(plan: Plan, node: str) -> None:
    member = plan.node(node)
    assert Role.MEMBER in member.roles and Role.EDGE not in member.roles
    assert member.upstreams == ()
    assert len(member.links) == len(plan.nodes) - 1
    assert {session.family for session in member.reflectors} == {"ipv4", "ipv6"}


@pytest.mark.parametrize(
    ("node", "asn", "multihop", "password", "bfd"),
    [("lax-aws-1", 65010, None, None, True), ("ord-gcp-1", 65020, 2, "gcp", False)],
)
def test_a_member_speaks_with_both_routers_of_its_vpc(
    plan: Plan, node: str, asn: int, multihop: int | None, password: str | None, bfd: bool
) -> None:
    assert [s.name for s in plan.node(node).vpc] == ["vpc1", "vpc2"]
    for session in plan.node(node).vpc:
        assert (session.peer_asn, session.multihop) == (asn, multihop)
        assert (session.password, session.bfd) == (password, bfd)


def test_an_edge_of_a_place_is_nearer_than_a_member_there(plan: Plan) -> None:
    costs = {link.peer: link.cost for link in plan.node("mia-vultr-1").links}
    assert costs["lax-aws-1"] == costs["lax-vultr-1"] + 1


def test_members_change_nothing_of_the_links_between_edges(plan: Plan) -> None:
    edges = plan_of(prod())
    for node in edges.nodes:
        kept = [
            link for link in plan.node(node.id).links if link.peer in {n.id for n in edges.nodes}
        ]
        assert tuple(kept) == node.links


def test_tunnels_end_at_the_address_that_the_world_sees(plan: Plan) -> None:
    place = placeholder_placements(plan)["lax-aws-1"]
    assert place.inside is not None
    tunnel = files(plan, "mia-vultr-1")["/etc/wireguard/wg-lax-aws-1.conf"]
    assert f"Endpoint = {place.ipv4}:" in tunnel
    assert str(place.inside) not in tunnel


def test_only_edges_hold_the_exits(plan: Plan) -> None:
    unit = "/etc/systemd/system/anycast-mesh-dummy.service"
    assert str(plan.exits.ipv4) == "10.10.10.254"
    for node in plan.nodes:
        assert (f"{plan.exits.ipv4}/32" in files(plan, node.id)[unit]) == (Role.EDGE in node.roles)


def test_a_network_without_members_knows_no_exit() -> None:
    plan = plan_of(prod())
    for node in plan.nodes:
        assert not [p for p, text in files(plan, node.id).items() if str(plan.exits.ipv4) in text]


def test_a_default_route_stays_out_of_a_members_main_table(plan: Plan) -> None:
    """It stands in the table that only packets from the aggregates are led to."""
    conf = files(plan, "lax-aws-1")["/etc/bird/bird.conf"]
    (default,) = [line for line in conf.splitlines() if "0.0.0.0/0" in line]
    assert "recursive 10.10.10.254" in default
    before = conf[: conf.index(default)].rpartition("protocol ")[2]
    assert "table replies4" in before
    rules = files(plan, "lax-aws-1")["/etc/systemd/system/anycast-mesh-replies.service"]
    assert "from 192.30.120.0/23 lookup main suppress_prefixlength 0" in rules


def test_an_existing_host_has_the_session_of_its_panel(plan: Plan) -> None:
    node = plan.node("ewr-buyvm-1")
    assert (node.provider, node.existing, node.place, node.size) == ("buyvm", True, "", "")
    assert [(s.peer_asn, str(s.neighbor), s.multihop, s.password) for s in node.upstreams] == [
        (53667, "192.0.2.1", 2, "buyvm"),
        (53667, "2001:db8::1", 2, "buyvm"),
    ]


def test_bare_metal_has_the_session_of_bare_metal() -> None:
    plan = plan_of(
        bent("nodes/lax-vultr-2", {"number": 9, "bareMetal": True, "plan": "vbm-4c-32gb"})
    )
    session = plan.node("lax-vultr-2").upstreams[0]
    assert (session.peer_asn, session.neighbor) == (20473, IPv4Address("169.254.1.1"))


def test_a_node_may_be_kept_from_announcing() -> None:
    node = plan_of(bent("nodes/lax-vultr-2", {"number": 9, "announce": False})).node("lax-vultr-2")
    assert node.roles == (Role.MEMBER,) and node.upstreams == ()


@pytest.mark.parametrize(
    ("region", "node", "place"),
    [
        ("lax", "lax-vultr-1", "lax"),
        ("lax", "lax-aws-1", "us-west-1"),
        ("ord", "ord-gcp-1", "us-central1"),
    ],
)
def test_places_are_called_as_the_provider_calls_them(
    plan: Plan, region: str, node: str, place: str
) -> None:
    assert plan.node(node).region == region
    assert plan.node(node).place == place


def test_a_stack_file_may_say_where() -> None:
    values = with_members()
    values["regions"]["lax"]["at"] = {"aws": "us-west-2"}
    assert plan_of(values).node("lax-aws-1").place == "us-west-2"


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        (EXISTING, {"bgpPassword-buyvm", "bgpPassword-gcp", "bgpPassword-vultr", "sshKey-buyvm"}),
        (
            {
                "ipv4": "203.0.113.77",
                "ssh": {"trustFirst": True},
                "upstream": {"peerAsn": 53667, "ipv4": "192.0.2.1"},
            },
            {"bgpPassword-gcp", "bgpPassword-vultr", "sshKey-buyvm"},
        ),
    ],
)
def test_each_secret_that_is_needed_is_asked_for(host: dict[str, Any], wanted: set[str]) -> None:
    values = with_members()
    values["nodes"]["ewr-buyvm-1"]["host"] = host
    problems = load("prod", values, ROOT).problems
    missing = {p.key.removeprefix("mesh:") for p in problems if p.value == "unset"}
    assert missing == wanted


@pytest.mark.parametrize("name", ["budget", "growth", "mixed", "routed"])
def test_examples_can_be_planned(name: str) -> None:
    plan = plan_of(example(name), name)
    assert len(plan.nodes) == {"budget": 2, "growth": 6, "mixed": 7, "routed": 5}[name]
    assert plan.with_role(Role.EDGE)


def test_growth_renumbers_nobody_and_moves_no_address() -> None:
    before, after = plan_of(prod()), plan_of(example("growth"))
    for node in before.nodes:
        grown = after.node(node.id)
        assert (grown.number, grown.slot, grown.announced) == (
            node.number,
            node.slot,
            node.announced,
        )
        assert (grown.tunnel, grown.underlay_asn) == (node.tunnel, node.underlay_asn)
