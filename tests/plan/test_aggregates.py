"""Who announces which prefix, and where the replies of the others leave."""

from __future__ import annotations

import copy
import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plan.document import read_plan, write_plan
from tests.kit.stacks import bent, plan_of, prod, several_prefixes, with_members

ALL = ("ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1")
EXPECTED = {
    "192.30.120.0/23": ALL,
    "192.30.124.0/23": ("ewr-vultr-1", "lax-vultr-1"),
    "192.30.121.0/24": ("mia-vultr-1",),
    "2620:71:4000::/48": ALL,
    "2620:71:4001::/48": ("lax-vultr-1",),
    "2620:71:4002::/48": ("ord-vultr-1",),
}


def test_every_prefix_is_announced_by_whom_the_stack_file_names() -> None:
    plan = plan_of(several_prefixes())
    assert {str(each.prefix): each.nodes for each in plan.aggregates} == EXPECTED
    assert [str(prefix) for prefix in plan.prefixes.both()] == [
        "192.30.120.0/23",
        "2620:71:4000::/48",
    ]
    assert ip_network("192.30.121.0/24") not in plan.owned
    assert plan.announces_apart


@pytest.mark.parametrize("values", [prod(), with_members()], ids=["prod", "with members"])
def test_one_prefix_a_family_at_every_edge_is_announced_as_one(values: dict[str, Any]) -> None:
    plan = plan_of(values)
    assert not plan.announces_apart
    assert plan.owned == plan.prefixes.both()


def test_a_list_of_one_is_that_one() -> None:
    values = prod()
    values["prefixes"] = {family: [prefix] for family, prefix in values["prefixes"].items()}
    assert plan_of(values) == plan_of(prod())


def test_each_set_of_announcers_has_an_exit_of_its_own() -> None:
    plan = plan_of(several_prefixes())
    exits = {str(each.prefix): each.exit for each in plan.aggregates}
    assert exits == {
        "192.30.120.0/23": None,
        "192.30.124.0/23": ip_address("10.10.10.253"),
        "192.30.121.0/24": None,
        "2620:71:4000::/48": None,
        "2620:71:4001::/48": ip_address("fd00:10:10:ffff:ffff:ffff:ffff:fffc"),
        "2620:71:4002::/48": ip_address("fd00:10:10:ffff:ffff:ffff:ffff:fffb"),
    }


def test_a_further_prefix_moves_no_address_of_others() -> None:
    values = several_prefixes()
    before = plan_of(copy.deepcopy(values))
    values["prefixes"]["ipv6"].append({"prefix": "2620:71:4003::/48", "announcedBy": ["mia"]})
    after = plan_of(values)
    assert set(before.aggregates) < set(after.aggregates)
    assert before.nodes == after.nodes


def test_a_plan_of_an_earlier_version_announces_its_prefixes_at_every_edge() -> None:
    plan = plan_of(with_members())
    document = json.loads(write_plan(plan))
    del document["aggregates"]
    assert read_plan(json.dumps(document)) == plan


def test_no_node_has_the_address_of_an_exit() -> None:
    values = bent("tunnels/ipv4", "10.10.10.0/29")
    values["prefixes"]["ipv6"] = [
        "2620:71:4000::/48",
        {"prefix": "2620:71:4001::/48", "announcedBy": ["lax"]},
    ]
    plan = plan_of(values)
    taken = {address for node in plan.nodes for address in node.tunnel.both()}
    assert not taken & {each.exit for each in plan.aggregates}
    values["prefixes"]["ipv6"].append({"prefix": "2620:71:4002::/48", "announcedBy": ["ord"]})
    with pytest.raises(ValueError, match="has no address of that number"):
        plan_of(values)


PLACES = st.lists(st.sets(st.sampled_from(ALL), min_size=1).map(sorted), min_size=1, max_size=4)


@given(PLACES)
def test_whoever_announces_what_renumbers_nobody(places: list[list[str]]) -> None:
    values = prod()
    values["prefixes"]["ipv6"] = [
        "2620:71:4000::/48",
        *(
            {"prefix": f"2620:71:400{number}::/48", "announcedBy": by}
            for number, by in enumerate(places, 1)
        ),
    ]
    plan, seed = plan_of(values), plan_of(prod())
    assert plan.nodes == seed.nodes
    found = {str(each.prefix): each for each in plan.aggregates}
    by_set: dict[tuple[str, ...], set[object]] = {}
    for number, by in enumerate(places, 1):
        each = found[f"2620:71:400{number}::/48"]
        assert list(each.nodes) == by
        by_set.setdefault(each.nodes, set()).add(each.exit)
    exits = [exit for (exit,) in by_set.values()]
    assert len(set(exits)) == len(exits), "an exit for each set of announcers, and one for each"
    assert (None in exits) == (ALL in by_set), "that of all edges, where all announce"
    taken = {address for node in plan.nodes for address in node.tunnel.both()}
    assert not taken & {*exits, *plan.exits.both()}
    for node in plan.nodes:
        assert set(plan.announced_by(node.id)) == {
            each.prefix for each in plan.aggregates if node.id in each.nodes
        }
