"""A generation goes out in waves."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mesh.plan import Role
from mesh.plan.waves import Touch
from mesh.publish import Fleet as State
from mesh.publish import PublishError, publish
from mesh.publish import rollout as rollout_module
from mesh.publish import stages as stages_module
from mesh.publish.choices import Choices
from mesh.publish.order import SealedBefore
from mesh.publish.registry_pool import RegistryPool
from mesh.publish.rollout_orders import Release, Rollouts
from tests.kit.registry import BUNDLE, Fleet, holding
from tests.kit.rollouts import RolloutNodes, living
from tests.kit.stacks import equal_nodes, plan_of
from tests.kit.wait import until
from tests.publish.rollout.updates import (
    EWR,
    FLEET,
    KNOWN,
    LAX,
    MIA,
    NODES,
    ORD,
    STATE,
    generations,
    last,
    only_announced_by,
    publication,
)

# --- what goes well ------------------------------------------------------------------------------


def test_each_wave_waits_for_the_one_before(nodes: RolloutNodes, touches: dict[str, Touch]) -> None:
    lines: list[str] = []
    done = publication(nodes, lines)
    assert done.generation == 6
    assert set(generations(nodes).values()) == {6}
    released = [order.released for order in nodes.orders]
    assert released[0] == () and not nodes.orders[0].everyone
    assert all(set(a) < set(b) for a, b in pairwise(released[:5]))
    assert last(nodes).everyone
    # The registry comes last.
    assert [node for node, _ in nodes.taken][-1] == LAX
    assert [line for line in lines if line.startswith("wave 1 of 4: ")]


def test_sixteen_nodes_follow_by_thirds_where_nothing_restarts(tmp_path: Path) -> None:
    fleet = Fleet(plan_of(equal_nodes(16, reflectors=2)))
    (registry_node,) = (n.id for n in fleet.plan.nodes if Role.REGISTRY in n.roles)
    state = State(5, fleet.fifth.digest, fleet.members(), network=fleet.network)
    with holding(tmp_path, fleet) as registry, living(RolloutNodes(fleet, registry)) as nodes:
        order = fleet.order(
            registries={registry_node: registry.url}, bundle=b"another", sealed_before=KNOWN
        )
        done, _ = publish(order, state, lambda _: None)
    assert done.generation == 6 and set(generations(nodes).values()) == {6}
    # Whether the nodes hear of the last order, which releases everyone, before they end is open.
    released = [set(order.released) for order in nodes.orders if not order.everyone]
    waves = [after - before for before, after in pairwise(released)]
    assert [len(wave) for wave in waves] == [2, 5, 5, 3, 1], "one of each kind is first"
    assert waves[-1] == {registry_node}
    assert not any(order.drained for order in nodes.orders)


def test_an_unchanged_node_follows_with_everyone(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[MIA] = Touch(False)
    publication(nodes)
    assert set(generations(nodes).values()) == {6}
    assert not [order for order in nodes.orders if MIA in order.released]


def test_what_restarts_sessions_drains_first_and_alone(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[ORD] = Touch(True, frozenset({"vultr4"}))
    lines: list[str] = []
    publication(nodes, lines)
    assert last(nodes).drained == (ORD,)
    assert [line for line in lines if re.match(rf"wave \d of 4: {ORD} \(drains first\): ", line)]


def test_each_node_is_examined_by_others_and_by_itself(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    publication(nodes)
    named = {node: by for order in nodes.orders for node, by in order.witnesses.items()}
    assert named.keys() == set(NODES)
    for node, by in named.items():
        assert node in by and len(by) == 3
    assert nodes.orders[0].witnesses and not last(nodes).witnesses


@pytest.mark.parametrize("waves", [True, False], ids=["now", "waves off"])
def test_without_waves_everybody_follows_at_once(
    nodes: RolloutNodes, touches: dict[str, Touch], waves: bool
) -> None:
    plan = replace(FLEET.plan, waves=waves)
    publication(nodes, plan=plan, choices=Choices(now=waves))
    assert set(generations(nodes).values()) == {6}
    assert not nodes.orders


def test_agents_that_know_no_waves_are_not_waited_for_to_say_so(
    tmp_path: Path, touches: dict[str, Touch]
) -> None:
    with holding(tmp_path, FLEET) as registry:
        earlier = RolloutNodes(FLEET, registry, earlier=set(NODES))
        with living(earlier):
            publication(earlier)
    assert set(generations(earlier).values()) == {6}
    assert not any(order.witnesses for order in earlier.orders)


def test_a_silent_node_stops_no_wave(
    nodes: RolloutNodes, touches: dict[str, Touch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It follows when it is back, and drains first where it may restart its sessions."""
    monkeypatch.setattr(stages_module, "SILENT_SECONDS", 0.5)
    silence(nodes, MIA)
    touches[MIA] = Touch(True, frozenset({"vultr4"}))
    text = f"{MIA}: has not reported for some time, and takes it over when it is back; "
    with pytest.raises(PublishError, match=text):
        publication(nodes)
    assert generations(nodes) == {LAX: 6, ORD: 6, EWR: 6, MIA: 5}
    nodes.mute.clear()
    until(lambda: generations(nodes)[MIA] == 6, 1, "it has what the others have")
    assert last(nodes).drained == (MIA,)


def test_more_silent_nodes_than_a_wave_has_do_not_come_back_together(
    nodes: RolloutNodes, touches: dict[str, Touch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages_module, "SILENT_SECONDS", 0.5)
    silence(nodes, MIA, EWR)
    follows, keeps = "takes it over when it is back", "keeps what it has in force"
    text = "; ".join(
        f"{node}: has not reported for some time, and {what}"
        for node, what in ((EWR, follows), (MIA, keeps))
    )
    with pytest.raises(PublishError, match=text):
        publication(nodes)
    nodes.mute.clear()
    until(lambda: generations(nodes)[EWR] == 6, 1, "one has what the others have")
    assert generations(nodes)[MIA] == 5
    assert MIA not in last(nodes).released and not last(nodes).everyone


def test_a_node_that_reports_late_has_its_place_in_a_wave(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    """Its registry was away for a minute, or its machine is busy."""
    nodes.behind[MIA] = 60.0
    nodes.step()
    shown: list[str] = []

    def show(line: str) -> None:
        shown.append(line)
        if line == f"waiting for a report of {MIA}":
            nodes.behind.clear()

    order = FLEET.order(registries={LAX: nodes.registry.url}, deadline=300.0, bundle=b"another")
    publish(order, STATE, show, None)
    assert f"waiting for a report of {MIA}" in shown
    assert set(generations(nodes).values()) == {6}


def silence(nodes: RolloutNodes, *names: str) -> None:
    """Nodes say nothing any more, and the registry forgets what they have said last."""
    nodes.mute |= set(names)
    nodes.step()  # no report of theirs is underway then
    for node in names:
        nodes.registry.registry.store.put_report(node, 0, "{}", lambda _: False)


def test_a_node_that_says_that_it_applies_gets_the_time(
    nodes: RolloutNodes, touches: dict[str, Touch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may install packages."""
    monkeypatch.setattr(rollout_module, "WAVE_SECONDS", 4.0)
    nodes.slow[EWR] = 4.5
    publication(nodes)
    assert generations(nodes)[EWR] == 6


def test_a_node_that_the_operator_goes_on_without_is_not_waited_for(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    nodes.deaf.add(MIA)
    done = publication(nodes, choices=Choices(without=frozenset({MIA})))
    assert done.generation == 6
    assert generations(nodes) == {LAX: 6, ORD: 6, EWR: 6, MIA: 5}


# --- changes with two ends -----------------------------------------------------------------------

BETWEEN = replace(FLEET.plan, path_limit=FLEET.plan.path_limit + 1)


@pytest.fixture
def two_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change has two ends."""
    monkeypatch.setattr(stages_module, "expanded", lambda *_: BETWEEN)
    monkeypatch.setattr(stages_module, "obstacles", lambda *_: ("a number changes",))


@pytest.mark.usefixtures("two_ends")
def test_a_change_with_two_ends_goes_out_twice(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    lines: list[str] = []
    assert publication(nodes, lines, before=FLEET.plan).generation == 7
    for node in NODES:
        assert [number for who, number in nodes.taken if who == node] == [6, 7]
    assert any(line.startswith("warning: a number changes; ") for line in lines)


@pytest.mark.usefixtures("two_ends")
@pytest.mark.parametrize("known", [FLEET.plan, None], ids=["now", "no plan before"])
def test_it_goes_out_once_where_there_is_nothing_to_expand(
    nodes: RolloutNodes, touches: dict[str, Touch], known: Any
) -> None:
    assert publication(nodes, before=known, choices=Choices(now=known is not None)).generation == 6


@pytest.mark.usefixtures("two_ends")
@pytest.mark.parametrize("good", [5, 6], ids=["the first", "the second"])
def test_a_stage_that_stops_goes_back_to_what_was_in_force(
    nodes: RolloutNodes, touches: dict[str, Touch], good: int
) -> None:
    nodes.rolls_back[ORD] = "bird: syntax error"
    nodes.good = good
    with pytest.raises(PublishError, match=f"the content of generation {good} is in force again"):
        publication(nodes, before=FLEET.plan)
    assert set(generations(nodes).values()) == {good + 2}


@pytest.mark.usefixtures("two_ends")
def test_an_outage_is_refused_before_the_first_stage(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[ORD] = Touch(True, frozenset({"vultr4", "vultr6"}))
    with pytest.raises(PublishError, match="--accept-outage"):
        publication(nodes, plan=only_announced_by(ORD), before=FLEET.plan)
    assert not nodes.orders and not nodes.taken


# --- compared with what nodes have ---------------------------------------------------------------


def test_what_changes_nothing_is_no_rollout(nodes: RolloutNodes) -> None:
    publication(nodes, bundle=BUNDLE, sealed_before=KNOWN)
    assert set(generations(nodes).values()) == {6}
    assert [order.everyone for order in nodes.orders] == [True]


def test_a_bundle_alone_drains_nobody(nodes: RolloutNodes) -> None:
    publication(nodes, sealed_before=KNOWN)
    assert last(nodes).drained == ()
    # One for the witnesses, one for each node, one for everyone.
    assert last(nodes).number == len(NODES) + 2


def test_another_password_restarts_sessions_one_node_after_the_other(nodes: RolloutNodes) -> None:
    changed = replace(KNOWN, changed=frozenset({"bgpPassword-vultr"}))
    publication(nodes, sealed_before=changed, passwords={"vultr": "another"})
    assert set(last(nodes).drained) == set(NODES)
    released = [set(order.released) for order in nodes.orders[:5]]
    assert [len(after - before) for before, after in pairwise(released)] == [1, 1, 1, 1]


def test_orders_that_cross_are_numbered_on(nodes: RolloutNodes) -> None:
    pool = RegistryPool(FLEET.key, {LAX: nodes.registry.url})
    identities = {node: member.identity for node, member in FLEET.members().items()}
    one, other = (Rollouts(pool, FLEET.key, FLEET.network, identities) for _ in range(2))
    turns = zip((one, one, other, one), NODES, strict=True)
    orders = [each.release(FLEET.fifth, Release([node])) for each, node in turns]
    assert [order.number for order in orders] == [1, 2, 3, 4]
    assert last(nodes) == orders[-1]
    pool.close()


@pytest.mark.usefixtures("two_ends")
def test_what_one_update_signs_first_holds_the_present_passwords(nodes: RolloutNodes) -> None:
    """Before it they are not known: an update of another stack file has not finished."""
    publication(nodes, sealed_before=SealedBefore(4), before=FLEET.plan)
    drained = {order.generation: set(order.drained) for order in nodes.orders}
    assert drained == {6: set(NODES), 7: set()}
