"""``glass.json``: the plan as the looking glass reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mesh.glass.network import PATH, Network
from mesh.plan import Plan
from mesh.plan.document import read_plan, write_plan
from mesh.render import node_files, placeholder_facts
from mesh.trust.encoding import parse
from tests.kit import stacks
from tests.kit.stacks import plan_of, prod

NETWORKS: dict[str, Callable[[], dict[str, Any]]] = {
    "the seed's": stacks.prod,
    "members": stacks.with_members,
    "sessions": stacks.with_sessions,
    "IPv4 alone": stacks.without_ipv6,
    "IPv6 alone": stacks.without_ipv4,
    "one node": stacks.one_node,
    "several prefixes": stacks.several_prefixes,
}


def document(plan: Plan, node: str) -> str:
    """The file of a node."""
    files = node_files(plan, placeholder_facts(plan))[node].files
    (found,) = [file.content for file in files if file.path == PATH]
    return found


def network(plan: Plan) -> Network:
    """The file as the looking glass reads it."""
    return parse(Network, document(plan, plan.nodes[0].id).encode())


@pytest.mark.parametrize("name", NETWORKS)
def test_it_has_the_nodes_links_services_and_prefixes_of_the_plan(name: str) -> None:
    plan = plan_of(NETWORKS[name]())
    read = network(plan)
    assert (read.asn, read.port, read.public) == (plan.asn, 8080, False)
    assert [
        (each.id, each.region, each.roles, each.asn, each.tunnel, each.announced, each.services)
        for each in read.nodes
    ] == [
        (
            each.id, each.region, tuple(map(str, each.roles)), each.underlay_asn,
            each.tunnel.both(), each.announced.both(), each.services,
        )
        for each in plan.nodes
    ]  # fmt: skip
    assert {(frozenset(each.ends), each.cost) for each in read.links} == {
        (frozenset((node.id, link.peer)), link.cost) for node in plan.nodes for link in node.links
    }
    assert [(each.name, each.kind, each.addresses, each.tcp) for each in read.services] == [
        (each.name, each.kind, each.addresses.both(), each.ports.tcp) for each in plan.services
    ]
    assert [(each.prefix, each.nodes) for each in read.aggregates] == [
        (each.prefix, each.nodes) for each in plan.aggregates
    ]
    assert [(each.id, each.name, each.location) for each in read.regions] == [
        (each.id, each.name, each.location) for each in plan.regions
    ]


def test_it_has_the_upstream_sessions_by_birds_names() -> None:
    plan = plan_of(stacks.with_sessions())
    read = network(plan).by_id["ewr-buyvm-1"]
    assert [
        (each.name, each.family, each.asn, each.role, each.take, each.label)
        for each in read.upstreams
    ] == [
        (each.name, each.family, each.peer_asn, each.role, each.imports.take, each.label)
        for each in plan.node("ewr-buyvm-1").upstreams
    ]


def test_it_names_communities_of_providers_and_of_our_own_rules() -> None:
    rule = {"name": "less", "regions": ["lax"], "communities": ["174:3001"]}
    named = network(plan_of(prod() | {"traffic": [rule]})).communities
    assert len(named) > 3
    assert all(re.fullmatch(r"\d+:\d+(:\d+)?", community) for community in named)
    assert all(named.values())
    assert "174:3001" in named


def test_it_has_the_validators_by_birds_names() -> None:
    plan = plan_of(prod() | {"rpki": {"servers": ["rtr://192.0.2.10:3323"]}})
    assert network(plan).validators == {"rtr_192_0_2_10_3323": "192.0.2.10"}


def test_all_nodes_have_the_same_object() -> None:
    plan = plan_of(prod())
    rendered = node_files(plan, placeholder_facts(plan))
    files = [file for node in rendered.values() for file in node.files if file.path == PATH]
    assert len(files) == len(plan.nodes)
    assert len({id(file.content) for file in files}) == 1


def test_there_is_none_where_the_looking_glass_is_off() -> None:
    plan = plan_of(prod() | {"glass": {"enabled": False}})
    rendered = node_files(plan, placeholder_facts(plan))
    assert not [file for node in rendered.values() for file in node.files if "glass" in file.path]


def test_a_plan_of_before_is_read_without_one() -> None:
    before = re.sub(r',"glass":\{[^}]*\}', "", write_plan(plan_of(prod())))
    assert read_plan(before).glass is None
    assert read_plan(write_plan(plan_of(prod()))).glass is not None
