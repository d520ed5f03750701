"""The order in which nodes take over a generation."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.plan import Plan, Role
from mesh.plan.waves import Touch, Wave, only_announcers, waves
from tests.kit.stacks import (
    equal_nodes,
    one_node,
    plan_of,
    prod,
    several_prefixes,
    two_services,
    with_members,
)
from tests.plan.fleets import fleets

UNCHANGED = Touch(changed=False)
CALM = Touch(changed=True)
RESTARTS = Touch(changed=True, restarts=frozenset({"vultr4", "vultr6"}))
UNSURE = Touch(changed=True, sure=False)
JOINS = Touch(changed=True, joins=True)
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"


def kinds_of(plan: Plan) -> dict[str, str]:
    """A kind for each provider."""
    return {node.id: node.provider for node in plan.nodes}


def rolled_out(plan: Plan, **touches: Touch) -> tuple[Wave, ...]:
    """The waves of a plan where these nodes (with underscores) are touched so, and all others are
    changed without a restart."""
    given = {node.replace("_", "-"): touch for node, touch in touches.items()}
    return waves(plan, {n.id: given.get(n.id, CALM) for n in plan.nodes}, kinds_of(plan))


def nodes_of(found: tuple[Wave, ...]) -> list[set[str]]:
    return [set(wave.nodes) for wave in found]


# --- One case each ---------------------------------------------------------------------------


def test_the_seed_s_nodes_follow_one_another_and_its_registry_is_last() -> None:
    plan = plan_of(prod())
    found = rolled_out(plan)
    assert [len(wave.nodes) for wave in found] == [1, 1, 1, 1]
    assert Role.REGISTRY in plan.node(found[-1].nodes[0]).roles
    assert not any(wave.drained for wave in found)


def test_a_node_that_nothing_changes_at_is_in_no_wave() -> None:
    found = rolled_out(plan_of(prod()), mia_vultr_1=UNCHANGED)
    assert MIA not in set().union(*nodes_of(found))


def test_a_first_generation_is_everybody_s_at_once() -> None:
    plan = plan_of(prod())
    (only,) = waves(plan, dict.fromkeys([n.id for n in plan.nodes], JOINS), kinds_of(plan))
    assert set(only.nodes) == {LAX, ORD, MIA, EWR}
    assert only.why == "joins"


def test_those_that_join_come_first_and_together() -> None:
    found = rolled_out(plan_of(prod()), mia_vultr_1=JOINS, ewr_vultr_1=JOINS)
    assert nodes_of(found)[0] == {MIA, EWR}


def test_two_nodes_follow_one_another() -> None:
    values = prod()
    values["nodes"] = {LAX: {"number": 1}, EWR: {"number": 4}}
    values["registries"] = values["reflectors"] = [LAX]
    assert nodes_of(rolled_out(plan_of(values))) == [{EWR}, {LAX}]


def test_what_restarts_goes_alone_and_drains_first() -> None:
    found = rolled_out(plan_of(prod()), mia_vultr_1=RESTARTS)
    (wave,) = [wave for wave in found if MIA in wave.nodes]
    assert wave.nodes == (MIA,)
    assert wave.drained == {MIA}
    assert "restarts vultr4, vultr6" in wave.why


def test_of_a_kind_a_node_without_a_restart_is_first() -> None:
    found = rolled_out(plan_of(prod()), ewr_vultr_1=RESTARTS)
    assert EWR not in found[0].nodes


def test_where_nobody_knows_what_is_in_force_every_session_may_restart() -> None:
    found = rolled_out(plan_of(prod()), mia_vultr_1=UNSURE)
    (wave,) = [wave for wave in found if MIA in wave.nodes]
    assert wave.drained == {MIA}
    assert "perhaps every session" in wave.why


def test_a_joiner_announces_for_nobody_yet() -> None:
    values = prod()
    values["nodes"] = {LAX: {"number": 1}, EWR: {"number": 4}}
    values["registries"] = values["reflectors"] = [LAX]
    plan = plan_of(values)
    found = rolled_out(plan, lax_vultr_1=RESTARTS, ewr_vultr_1=JOINS)
    assert nodes_of(found) == [{EWR}, {LAX}]
    assert found[1].drained == set()


def test_the_only_node_that_serves_something_does_not_drain() -> None:
    values = two_services()
    values["services"]["east"]["nodes"] = [MIA]
    found = rolled_out(plan_of(values), mia_vultr_1=RESTARTS)
    (wave,) = [wave for wave in found if MIA in wave.nodes]
    assert wave.nodes == (MIA,)
    assert wave.drained == set()
    assert "no other node serves" in wave.why


def test_the_only_announcer_of_a_prefix_does_not_drain_and_is_named() -> None:
    plan = plan_of(several_prefixes())
    touches = {node.id: RESTARTS for node in plan.nodes}
    found = waves(plan, touches, kinds_of(plan))
    assert set().union(*(wave.drained for wave in found)) == {EWR}
    alone = {
        node: [str(p) for p in found] for node, found in only_announcers(plan, touches).items()
    }
    assert alone == {
        LAX: ["2620:71:4001::/48"],
        MIA: ["192.30.121.0/24"],
        ORD: ["2620:71:4002::/48"],
    }


@pytest.mark.parametrize(
    ("touch", "prefixes"),
    [
        (RESTARTS, ["2620:71:4000::/48"]),
        (UNSURE, ["2620:71:4000::/48"]),
        (Touch(changed=True, restarts=frozenset({"vultr6"})), ["2620:71:4000::/48"]),
        (Touch(changed=True, restarts=frozenset({"mate6_ewr_vultr_1"})), []),
        (CALM, []),
        (UNCHANGED, []),
        (JOINS, []),
    ],
    ids=["all", "not known", "its upstream", "iBGP only", "none", "unchanged", "joins"],
)
def test_one_node_that_restarts_its_upstream_is_the_only_announcer(
    touch: Touch, prefixes: list[str]
) -> None:
    found = only_announcers(plan_of(one_node()), {LAX: touch})
    assert [str(p) for p in found.get(LAX, ())] == prefixes


def test_an_announcer_that_takes_no_part_announces_for_nobody() -> None:
    plan = plan_of(prod())
    touches = {LAX: RESTARTS}
    assert [str(p) for p in only_announcers(plan, touches)[LAX]] == [
        "192.30.120.0/23",
        "2620:71:4000::/48",
    ]
    assert [wave.drained for wave in waves(plan, touches, {})] == [frozenset()]


def test_members_and_edges_share_waves_and_never_more_than_a_third_of_either() -> None:
    plan = plan_of(with_members())
    found = nodes_of(rolled_out(plan))
    assert all(len(wave & {"lax-aws-1", "ord-gcp-1"}) <= 1 for wave in found)
    assert len(found) < len(plan.nodes)
    assert {"lax-aws-1", "ord-gcp-1"} < found[0] | found[1] | found[2]


@pytest.mark.parametrize(("registries", "reflectors"), [(1, 1), (1, 2), (2, 2)])
def test_sixteen_equal_nodes_take_at_most_six_waves(registries: int, reflectors: int) -> None:
    found = rolled_out(plan_of(equal_nodes(16, registries, reflectors)))
    assert len(found) <= 6
    assert len(found[0].nodes) <= 2, "one of each kind"


def test_one_region_more_leaves_the_others_in_their_order() -> None:
    smaller, larger = plan_of(equal_nodes(16)), plan_of(equal_nodes(17))
    at = [
        {node: place for place, wave in enumerate(rolled_out(plan)) for node in wave.nodes}
        for plan in (smaller, larger)
    ]
    names = [name for name in at[0] if Role.REFLECTOR not in smaller.node(name).roles]
    for one in names:
        for other in names:
            if at[0][one] < at[0][other]:
                assert at[1][one] <= at[1][other]


@pytest.mark.parametrize("in_a_region", [1, 6, 500])
def test_a_thousand_nodes_are_put_in_order_at_once(in_a_region: int) -> None:
    plan = grown(plan_of(equal_nodes(16)), 1000, in_a_region)
    touches = {node.id: CALM for node in plan.nodes}
    start = time.process_time()
    found = waves(plan, touches, kinds_of(plan))
    assert time.process_time() - start < 0.2
    assert sum(len(wave.nodes) for wave in found) == 1000


def grown(plan: Plan, count: int, in_a_region: int) -> Plan:
    """The plan with copies of one of its nodes."""
    more = tuple(
        replace(plan.nodes[1], id=f"x{i:04}-vultr-1", region=f"x{i // in_a_region}")
        for i in range(count - len(plan.nodes))
    )
    ids = tuple(node.id for node in more)
    wider = tuple(replace(each, nodes=(*each.nodes, *ids)) for each in plan.aggregates)
    return replace(plan, nodes=(*plan.nodes, *more), aggregates=wider)


# --- For every network -----------------------------------------------------------------------

TOUCHES = st.sampled_from((CALM, CALM, CALM, RESTARTS, UNSURE, UNCHANGED, JOINS))


@st.composite
def rollouts(draw: st.DrawFn) -> tuple[Plan, dict[str, Touch], dict[str, str]]:
    plan = plan_of(draw(fleets()))
    touches = {node.id: draw(TOUCHES) for node in plan.nodes}
    kinds = {node.id: draw(st.sampled_from(("debian-12", "debian-13"))) for node in plan.nodes}
    return plan, touches, kinds


Rollout = tuple[Plan, dict[str, Touch], dict[str, str]]


def after_joiners(rollout: Rollout) -> tuple[Wave, ...]:
    """The waves of nodes that have a generation in force."""
    plan, touches, kinds = rollout
    found = waves(plan, touches, kinds)
    return tuple(wave for wave in found if not touches[wave.nodes[0]].joins)


def standing(touches: Mapping[str, Touch]) -> set[str]:
    return {node for node, touch in touches.items() if not touch.joins}


def restarting(touches: Mapping[str, Touch]) -> set[str]:
    return {node for node in standing(touches) if touches[node] in (RESTARTS, UNSURE)}


@given(rollouts())
def test_every_changed_node_is_in_one_wave(rollout: Rollout) -> None:
    plan, touches, kinds = rollout
    found = Counter(node for wave in waves(plan, touches, kinds) for node in wave.nodes)
    assert found == Counter(node for node, touch in touches.items() if touch.changed)


@given(rollouts())
def test_joiners_are_the_first_wave(rollout: Rollout) -> None:
    plan, touches, kinds = rollout
    joiners = {node for node, touch in touches.items() if touch.joins}
    found = nodes_of(waves(plan, touches, kinds))
    assert found[:1] == [joiners] if joiners else True
    assert all(joiners.isdisjoint(wave) for wave in found[1:])


@given(rollouts())
def test_a_wave_leaves_most_of_the_network_as_it_is(rollout: Rollout) -> None:
    plan, touches, _ = rollout
    able = standing(touches)
    reflectors = {node.id for node in plan.with_role(Role.REFLECTOR)} & able
    members = {node.id for node in plan.with_role(Role.MEMBER)} & able
    groups = [members, able, *(set(each.nodes) & able for each in plan.aggregates)]
    for wave in after_joiners(rollout):
        regions = [plan.node(node).region for node in wave.nodes]
        assert len(set(regions)) == len(regions)
        for group in groups:
            assert len(group & set(wave.nodes)) <= max(1, len(group) // 3)
        assert len(reflectors) <= 1 or not reflectors <= set(wave.nodes)


@given(rollouts())
def test_registries_are_last_and_each_is_alone(rollout: Rollout) -> None:
    plan, _, _ = rollout
    registries = {node.id for node in plan.with_role(Role.REGISTRY)}
    found = nodes_of(after_joiners(rollout))
    seen = [bool(wave & registries) for wave in found]
    assert seen == sorted(seen)
    assert all(len(wave) == 1 for wave in found if wave & registries)


@given(rollouts())
def test_what_restarts_is_alone_and_drains_only_where_others_do_its_work(rollout: Rollout) -> None:
    plan, touches, _ = rollout
    able = standing(touches)
    for wave in after_joiners(rollout):
        for node in restarting(touches) & set(wave.nodes):
            assert wave.nodes == (node,)
            rest = able - {node}
            announced = all(rest & set(plan.announcers(p)) for p in plan.announced_by(node))
            if not announced:
                assert not wave.drained
        assert wave.drained <= restarting(touches) & set(wave.nodes)


@given(rollouts())
def test_one_node_of_each_kind_goes_before_every_other_of_it(rollout: Rollout) -> None:
    plan, _, kinds = rollout
    seen: set[tuple[object, ...]] = set()
    found = [w for w in after_joiners(rollout) if w.why.startswith("the first")]
    for wave in found:
        for node in wave.nodes:
            kind = (kinds[node], plan.node(node).roles)
            assert kind not in seen
            seen.add(kind)
    rest = [w for w in after_joiners(rollout) if not w.why.startswith(("the first", "a registry"))]
    assert {(kinds[n], plan.node(n).roles) for w in rest for n in w.nodes} <= seen
    assert [*found, *rest] == [w for w in after_joiners(rollout) if "a registry" not in w.why]


@given(rollouts())
def test_the_only_reflector_and_only_announcers_are_no_trial_of_others(rollout: Rollout) -> None:
    plan, touches, _ = rollout
    able = standing(touches)
    reflectors = {node.id for node in plan.with_role(Role.REFLECTOR)} & able
    for wave in after_joiners(rollout):
        if wave.why.partition(";")[0] == "the first of its kind":
            for node in wave.nodes:
                assert reflectors != {node}
                assert all(
                    (able - {node}) & set(plan.announcers(p)) for p in plan.announced_by(node)
                )


@given(rollouts(), st.randoms())
def test_the_order_does_not_depend_on_how_nodes_are_listed(rollout: Rollout, mixed: Any) -> None:
    plan, touches, kinds = rollout
    names = list(touches)
    mixed.shuffle(names)
    assert waves(plan, {n: touches[n] for n in names}, kinds) == waves(plan, touches, kinds)
