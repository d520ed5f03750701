"""The plan between two plans: each node of the one works with each of the other."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plan import Link, Node, Plan, Role
from mesh.plan.document import read_plan, write_plan
from mesh.plan.transition import expanded, obstacles
from mesh.render.policy import exits
from tests.kit.stacks import (
    bent,
    plan_of,
    prod,
    several_prefixes,
    two_services,
    with_members,
)
from tests.plan.fleets import fleets

LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"
Values = dict[str, Any]


def changed(values: Values, **keys: Any) -> Values:
    """The stack file with these keys instead; maps are completed."""
    result = copy.deepcopy(values)
    for key, value in keys.items():
        result[key] = (result.get(key, {}) | value) if isinstance(value, dict) else value
    return result


def east_at(*nodes: str) -> Values:
    """Two services, the second one at these nodes."""
    values = two_services()
    values["services"]["east"]["nodes"] = list(nodes)
    return values


def between(before: Values, after: Values) -> Plan:
    found = expanded(plan_of(before), plan_of(after))
    assert found is not None
    return found


def peers(plan: Plan, node: str) -> set[str]:
    return {link.peer for link in plan.node(node).links}


def link(plan: Plan, node: str, peer: str) -> Link:
    (found,) = (each for each in plan.node(node).links if each.peer == peer)
    return found


# --- One case each ---------------------------------------------------------------------------

ONE_ENDED: dict[str, tuple[Values, Values]] = {
    "nothing": (prod(), prod()),
    "a service more": (prod(), two_services()),
    "a service less": (two_services(), prod()),
    "a node more, and a reflector": (prod(), with_members()),
    "a node less": (with_members(), prod()),
    "a reflector more": (prod(), bent("reflectors", [LAX, EWR])),
    "a reflector less": (bent("reflectors", [LAX, EWR]), prod()),
    "hubs become a full mesh": (bent("tunnels/fullMesh", 2), prod()),
    "other BFD timers": (prod(), bent("tunnels/bfd", {"interval": 300, "multiplier": 5})),
    "a city that moves": (prod(), bent("regions/ord/location", [-45.0, 170.0])),
    "a place of a service more": (two_services(), east_at(MIA, EWR, LAX)),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), ONE_ENDED.values(), ids=ONE_ENDED.keys())
def test_what_has_one_end_needs_no_plan_between(before: Values, after: Values) -> None:
    assert expanded(plan_of(before), plan_of(after)) is None
    assert obstacles(plan_of(before), plan_of(after)) == ()


def test_links_that_go_stay_until_nothing_takes_them() -> None:
    after = plan_of(bent("tunnels/fullMesh", 2))
    found = between(prod(), bent("tunnels/fullMesh", 2))
    assert all(peers(found, node.id) == peers(plan_of(prod()), node.id) for node in found.nodes)
    assert link(found, MIA, LAX) == link(after, MIA, LAX)
    around = link(found, MIA, LAX).cost + link(found, EWR, LAX).cost
    assert link(found, MIA, EWR).cost == link(found, EWR, MIA).cost > around
    assert found.path_limit == 4
    assert expanded(found, after) == found, "it is the same again after an interruption"


def test_a_node_with_another_system_has_no_link_of_the_server_before() -> None:
    after = bent("tunnels/fullMesh", 2)
    after["nodes"][MIA]["os"] = "openbsd"
    found = between(prod(), after)
    assert {each.interface for each in found.node(MIA).links} == {"wg1"}
    assert peers(found, ORD) == {LAX, EWR}


def test_a_full_mesh_that_outgrows_its_limit_keeps_its_links_meanwhile() -> None:
    before = bent("tunnels/fullMesh", 6)
    after = with_members()
    after["tunnels"]["fullMesh"] = 6
    found = between(before, after)
    assert MIA in peers(found, EWR)
    assert "lax-aws-1" not in peers(found, EWR), "a link to a node that joins is no link before"


def test_hubs_that_move_are_both_reached_meanwhile() -> None:
    before = bent("tunnels/fullMesh", 2)
    found = between(before, changed(before, reflectors=[EWR]))
    assert peers(found, MIA) == peers(found, ORD) == {LAX, EWR}


def test_a_reflector_that_moves_is_joined_by_the_next_one_first() -> None:
    found = between(prod(), bent("reflectors", [ORD]))
    assert {node.id for node in found.with_role(Role.REFLECTOR)} == {LAX, ORD}
    assert found == replace(
        plan_of(bent("reflectors", [LAX, ORD])), rpki=found.rpki, validates=found.validates
    )


def test_edges_ask_the_validators_of_both_reflectors() -> None:
    before = prod() | {"rpki": {"local": True}}
    plans = [plan_of(changed(before, reflectors=[at])) for at in (LAX, ORD)]
    found = between(before, changed(before, reflectors=[ORD]))
    assert set(found.rpki) == {*plans[0].rpki, *plans[1].rpki}


def test_a_service_that_moves_is_at_both_places_meanwhile() -> None:
    found = between(east_at(MIA, EWR), east_at(LAX))
    (east,) = (each for each in found.services if each.name == "east")
    assert east.nodes == (EWR, LAX, MIA)
    assert all("east" in found.node(node).services for node in (EWR, LAX, MIA))
    assert "east" not in found.node(ORD).services


def test_a_service_that_moves_from_a_node_that_leaves_comes_at_once() -> None:
    after = east_at(LAX)
    del after["nodes"][MIA]
    assert expanded(plan_of(east_at(MIA)), plan_of(after)) is None


def test_a_prefix_that_moves_is_announced_by_both_meanwhile() -> None:
    before, after = several_prefixes(), several_prefixes()
    for values in (before, after):
        del values["services"]["laxonly"]
    after["prefixes"]["ipv6"][1]["announcedBy"] = ["mia"]
    found = between(before, after)
    (moved,) = (each for each in found.aggregates if str(each.prefix) == "2620:71:4001::/48")
    assert moved.nodes == (LAX, MIA)


def test_an_exit_that_moves_is_held_before_replies_take_it() -> None:
    before, after = several_prefixes(), several_prefixes()
    after["prefixes"]["ipv6"][2]["announcedBy"] = ["lax"]
    old, new = (
        next(a for a in plan_of(values).aggregates if str(a.prefix) == "2620:71:4002::/48")
        for values in (before, after)
    )
    assert old.exit != new.exit
    found = between(before, after)
    (moved,) = (each for each in found.aggregates if each.prefix == old.prefix)
    assert (moved.nodes, moved.exit) == ((LAX, ORD), old.exit)
    assert {node.id: node.later_exits for node in found.nodes} == {
        EWR: (), LAX: (new.exit,), MIA: (), ORD: (),
    }  # fmt: skip
    held = exits(found)
    assert (old.exit in held[ORD], new.exit in held[ORD]) == (True, False)
    assert {old.exit, new.exit} <= set(held[LAX])
    assert obstacles(plan_of(before), plan_of(after)) == ()


def test_an_exit_that_another_prefix_keeps_is_named() -> None:
    before, after = several_prefixes(), several_prefixes()
    for values in (before, after):
        values["prefixes"]["ipv6"].append({"prefix": "2620:71:4003::/48", "announcedBy": ["ord"]})
    after["prefixes"]["ipv6"][2]["announcedBy"] = ["lax"]
    (found,) = obstacles(plan_of(before), plan_of(after))
    assert "the exit of 2620:71:4002::/48" in found
    assert "2620:71:4003::/48 has one of these" in found


def test_tunnels_that_change_their_ports_listen_at_both() -> None:
    before = plan_of(prod())
    after = plan_of(bent("tunnels/port", 51821))
    found = between(prod(), bent("tunnels/port", 51821))
    for here, there in permutations((LAX, ORD, MIA, EWR), 2):
        old, now, new = (link(plan, here, there) for plan in (before, found, after))
        assert (now.port, now.former_port) == (new.port, old.port)
        assert now.peer_port == old.peer_port, "the peer may still listen there only"
    ranges = {rule.name: rule.ports for rule in found.firewall if rule.source == "nodes"}
    assert ranges == {"wireguard": (51821, 51824), "wireguard-former": (51820, 51823)}


OBSTACLES: dict[str, tuple[Values, Values, str]] = {
    "another number": (prod(), bent("nodes/mia-vultr-1/number", 9), "number changes from 3 to 9"),
    "another ASN": (prod(), bent("asn", 400001), "mesh:asn changes"),
    "another slot": (
        prod(), bent("regions/mia/slots/vultr-1", "192.30.120.29"), "another announced address",
    ),
    "other tunnel addresses": (prod(), bent("tunnels/ipv4", "10.11.0.0/24"), "tunnel address"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after", "what"), OBSTACLES.values(), ids=OBSTACLES.keys())
def test_what_a_node_cannot_have_twice_is_named(before: Values, after: Values, what: str) -> None:
    (found,) = obstacles(plan_of(before), plan_of(after))
    assert what in found


def test_the_only_hub_cannot_leave_in_one_step() -> None:
    before = bent("tunnels/fullMesh", 2)
    after = changed(before, reflectors=[ORD], registries=[ORD])
    del after["nodes"][LAX]
    (found,) = obstacles(plan_of(before), plan_of(after))
    assert "keep one until the next update" in found


def test_the_only_reflector_of_a_small_full_mesh_can() -> None:
    after = changed(prod(), reflectors=[ORD], registries=[ORD])
    del after["nodes"][LAX]
    assert obstacles(plan_of(prod()), plan_of(after)) == ()


def test_a_plan_between_is_the_same_after_it_has_been_text() -> None:
    found = between(prod(), bent("tunnels/port", 51900))
    assert read_plan(write_plan(found)) == found


# --- For every network -----------------------------------------------------------------------


@st.composite
def changes(draw: st.DrawFn) -> tuple[Plan, Plan]:
    """A network and the same one with some nodes more or less, and other reflectors, tunnels, ports
    and places of services."""
    whole = draw(fleets())
    plans = []
    for _ in range(2):
        values = copy.deepcopy(whole)
        names = sorted(values["nodes"])
        kept = {next(n for n in names if "-vultr-" in n), *draw(st.sets(st.sampled_from(names)))}
        values["nodes"] = {n: values["nodes"][n] for n in names if n in kept}
        some = st.sampled_from(sorted(values["nodes"]))
        values["reflectors"] = sorted(draw(st.sets(some, min_size=1, max_size=2)))
        values["registries"] = [draw(some)]
        values["tunnels"]["fullMesh"] = draw(st.sampled_from([2, 4, 32]))
        values["tunnels"]["port"] = draw(st.sampled_from([51820, 51820, 51822]))
        if servers := [n for n, given in values["nodes"].items() if given.get("ipv6", True)]:
            nodes = draw(st.sets(st.sampled_from(servers), min_size=1))
            values["services"]["web"]["nodes"] = sorted(nodes)
        plans.append(plan_of(values))
    return plans[0], plans[1]


Change = tuple[Plan, Plan]


def staying(change: Change) -> list[str]:
    before, after = change
    return sorted({node.id for node in before.nodes} & {node.id for node in after.nodes})


def steps(change: Change) -> list[tuple[Plan, Plan]]:
    """The rollouts by which a change comes into force, each from one plan to the next."""
    before, after = change
    step = expanded(before, after)
    return [(before, after)] if step is None else [(before, step), (step, after)]


@given(changes())
def test_every_link_before_is_at_both_ends_or_at_none_meanwhile(change: Change) -> None:
    before, after = change
    found = expanded(before, after) or after
    if found is after:
        for here, there in permutations(staying(change), 2):
            assert there not in peers(before, here) or there in peers(after, here)
    for here, there in permutations(staying(change), 2):
        assert (there in peers(found, here)) == (here in peers(found, there))
        assert there in peers(found, here) or there not in peers(before, here)
        assert there in peers(found, here) or there not in peers(after, here)


@given(changes())
def test_each_end_of_a_tunnel_sends_to_where_the_other_listens(change: Change) -> None:
    """In the second rollout the end that is behind has learned the other's port from its packets:
    it has been the same since the first one."""
    old, new = steps(change)[0]
    for here, there in permutations(staying(change), 2):
        if there in peers(old, here) and here in peers(new, there):
            one, other = link(old, here, there), link(new, there, here)
            assert one.peer_port in (other.port, other.former_port)
            assert other.peer_port == one.port
    if new is not change[1]:
        for here, there in permutations(staying(change), 2):
            if there in peers(change[1], here):
                one, other = link(change[1], here, there), link(new, there, here)
                assert one.peer_port == other.port
                assert one.port == link(new, here, there).port


@given(changes())
def test_no_two_tunnels_of_a_node_take_each_others_packets(change: Change) -> None:
    for plan in {id(p): p for step in steps(change) for p in step}.values():
        for node in plan.nodes:
            ports = [link.port for link in node.links]
            assert len(set(ports)) == len(ports)


def reflectors_of(node: Node) -> set[str]:
    """The nodes from which a node takes what they reflect; itself where it is one."""
    own = {node.id} if Role.REFLECTOR in node.roles else set()
    return own | {each.peer for each in node.reflectors if not each.client}


@given(changes())
def test_every_node_has_a_reflector_that_knows_it_as_its_client(change: Change) -> None:
    for old, new in steps(change):
        stay = staying((old, new))
        if not {n.id for n in old.with_role(Role.REFLECTOR)} & set(stay):
            continue
        for node in stay:
            shared = reflectors_of(old.node(node)) & reflectors_of(new.node(node)) & set(stay)
            assert shared, f"{node} has no reflector in both"


@given(changes())
def test_a_service_has_an_instance_that_every_node_takes_all_the_while(change: Change) -> None:
    stay = set(staying(change))
    for old, new in steps(change):
        for service in old.services:
            (other,) = (each for each in new.services if each.name == service.name)
            if set(service.nodes) & stay and set(other.nodes) & stay:
                assert set(service.nodes) & set(other.nodes) & stay


@given(changes())
def test_a_plan_that_does_not_change_needs_none_between(change: Change) -> None:
    for plan in {id(p): p for step in steps(change) for p in step}.values():
        assert expanded(plan, plan) is None
