"""Nodes that are off, and who stands in for whom."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from mesh.plan.waves import Touch
from mesh.publish import PublishError
from mesh.publish.choices import Choices
from mesh.trust.documents import DrainOrder, Health
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from tests.kit.rollouts import RolloutNodes
from tests.kit.wait import until
from tests.publish.rollout.updates import (
    EWR,
    FLEET,
    KNOWN,
    LAX,
    MIA,
    ORD,
    Lines,
    dead,
    generations,
    last,
    publication,
    withdrawn,
)

# --- away ----------------------------------------------------------------------------------------


def away(nodes: RolloutNodes, node: str) -> None:
    """A node is off: its last report is some minutes old."""
    nodes.behind[node] = 400.0
    nodes.step()
    nodes.mute.add(node)


def back(nodes: RolloutNodes, node: str) -> None:
    nodes.behind.clear()
    nodes.mute.discard(node)


def missed_two(nodes: RolloutNodes) -> None:
    """Two generations go out while Miami is off."""
    away(nodes, MIA)
    without = Choices(now=True, without=frozenset({MIA}))
    for bundle in (b"one", b"two"):
        publication(nodes, bundle=bundle, sealed_before=KNOWN, choices=without)
    assert generations(nodes) == {LAX: 7, ORD: 7, EWR: 7, MIA: 5}


def back_in_the_second_wave(nodes: RolloutNodes) -> Lines:
    """The lines of an update, in whose second wave Miami comes back."""

    def come(line: str) -> None:
        if line.startswith("wave 2 of 3: "):
            back(nodes, MIA)

    return Lines(come)


@pytest.mark.usefixtures("unwitnessed")
def test_a_node_that_was_off_and_comes_back_between_two_waves_follows_in_one_more(
    nodes: RolloutNodes,
) -> None:
    missed_two(nodes)
    lines = back_in_the_second_wave(nodes)
    assert publication(nodes, lines, bundle=b"three", sealed_before=KNOWN).generation == 8
    assert set(generations(nodes).values()) == {8}
    silent = lines.index(f"{MIA}: has not reported for some time, and it goes on waiting")
    again = lines.index(f"{MIA}: reports again, and follows now")
    assert silent < again
    assert any(line.startswith(f"wave 1 of 1: {MIA}: ") for line in lines[again:])
    assert [number for node, number in nodes.taken if node == MIA] == [8]


@pytest.mark.usefixtures("unwitnessed")
def test_a_node_that_came_back_and_is_harmed_stops_alone(nodes: RolloutNodes) -> None:
    """The others keep what has harmed none of them."""
    missed_two(nodes)
    nodes.rolls_back[MIA] = "bird: syntax error"
    with pytest.raises(PublishError) as error:
        publication(nodes, back_in_the_second_wave(nodes), bundle=b"three", sealed_before=KNOWN)
    assert f"{MIA} rolled back generation 8: bird: syntax error" in str(error.value)
    assert "the other nodes keep generation 8; " in str(error.value)
    assert generations(nodes) == {LAX: 8, ORD: 8, EWR: 8, MIA: 5}
    assert last(nodes).released == () and not last(nodes).everyone


def test_a_node_that_comes_back_after_all_has_the_newest_alone(nodes: RolloutNodes) -> None:
    missed_two(nodes)
    back(nodes, MIA)
    until(lambda: generations(nodes)[MIA] == 7, 1, "it has what the others have")
    assert [number for node, number in nodes.taken if node == MIA] == [7]


@pytest.mark.usefixtures("unwitnessed")
@pytest.mark.parametrize("wave", [0, 1, 2, 3])
def test_a_node_that_goes_off_before_its_wave_stops_none(
    nodes: RolloutNodes, touches: dict[str, Touch], wave: int
) -> None:
    """Los Angeles, whose wave is the last one, loses its power before the update or when that shows
    a wave: nobody blames the others that have lost their sessions with it."""
    lines = off_at(nodes, LAX, wave)
    with pytest.raises(PublishError) as error:
        publication(nodes, lines, registries={ORD: nodes.registry.url})
    assert f"{LAX}: no other node reaches it, and takes it over when it is back" in str(error.value)
    assert generations(nodes) == {LAX: 5, ORD: 6, MIA: 6, EWR: 6}
    assert f"{LAX}: no other node reaches it, and it goes on waiting" in lines
    nodes.off.clear()
    until(lambda: generations(nodes)[LAX] == 6, 1, "it has what the others have")


def off_at(nodes: RolloutNodes, node: str, wave: int) -> Lines:
    """The lines of an update; a node goes off when it shows a wave, 0 for before."""

    def end() -> None:
        nodes.off[node] = time.time()
        rounds = nodes.rounds
        until(lambda: nodes.rounds > rounds + 1, 1, "the others have told it")

    def follow(line: str) -> None:
        if line.startswith(f"wave {wave} of 4: "):
            end()

    if not wave:
        end()
    return Lines(follow)


# --- who stands in for whom ----------------------------------------------------------------------


def idle(health: Health) -> Health:
    return replace(withdrawn(health), in_service=False)


def test_a_node_that_announces_nothing_now_stands_in_for_no_other(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    nodes.always = dict.fromkeys((MIA, LAX, EWR), idle)
    nodes.step()
    touches[ORD] = Touch(True, frozenset({"vultr4", "vultr6"}))
    with pytest.raises(PublishError, match=f"{ORD}: vultr4, vultr6 start anew, and no other node"):
        publication(nodes)


OTHERS = (MIA, ORD, EWR)


def order_drain(nodes: RolloutNodes, number: int, *names: str) -> None:
    """The order is at the registry, and no node has applied it yet."""
    order = DrainOrder(FLEET.network, number, tuple(sorted(names)))
    nodes.registry.registry.accept_order(DRAIN, dump(DRAIN.signed(FLEET.key, order)))


def draining_others(nodes: RolloutNodes, how: str = "drained") -> Lines:
    """The lines of an update during which all nodes but Los Angeles leave."""

    def follow(line: str) -> None:
        if line.startswith("wave 1 of 4: "):
            if how == "ordered":
                order_drain(nodes, 1, *OTHERS)
            else:
                nodes.always = dict.fromkeys(OTHERS, HOW[how])
        if "waiting for one" in line:
            nodes.always = {}
            if how == "ordered":
                order_drain(nodes, 2)

    return Lines(follow)


@pytest.mark.parametrize("how", ["drained", "ordered", "updating"])
def test_the_last_announcer_waits_until_another_node_announces(
    nodes: RolloutNodes, touches: dict[str, Touch], how: str
) -> None:
    """Also where the others announce for the seconds of their graceful shutdown only."""
    touches[LAX] = Touch(True, frozenset({"vultr4", "vultr6"}))
    lines = draining_others(nodes, how)
    publication(nodes, lines)
    waits = f"no other node announces the prefixes of {LAX} any more; waiting for one"
    assert f"wave 4 of 4: {waits}" in lines
    assert last(nodes).drained == (LAX,)


def test_an_accepted_outage_waits_for_no_other_announcer(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[LAX] = Touch(True, frozenset({"vultr4", "vultr6"}))
    lines = draining_others(nodes)
    publication(nodes, lines, choices=Choices(accept_outage=True))
    assert f"{LAX}: does not drain, since no other node announces its prefixes" in lines
    assert last(nodes).drained == ()


def test_a_node_does_not_drain_while_it_alone_serves_a_service(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    """By the plan others do, and their instances are down."""
    touches[ORD] = Touch(True, frozenset({"vultr4"}))
    nodes.always = dict.fromkeys((MIA, LAX, EWR), dead)
    nodes.step()
    lines: list[str] = []
    publication(nodes, lines)
    assert f"{ORD}: does not drain, since no other node serves web" in lines
    assert last(nodes).drained == ()


def test_a_node_does_not_drain_while_the_others_that_serve_are_leaving(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[ORD] = Touch(True, frozenset({"vultr4"}))
    nodes.always = dict.fromkeys((LAX, EWR), dead)
    nodes.step()
    order_drain(nodes, 1, MIA)
    lines: list[str] = []
    publication(nodes, lines)
    assert f"{ORD}: does not drain, since no other node serves web" in lines


def drained(health: Health) -> Health:
    return replace(idle(health), drained=True)


def leaving(health: Health) -> Health:
    """It has just begun to drain for an update."""
    return replace(health, update="draining")


HOW = {"drained": drained, "updating": leaving}


def cut_off(health: Health) -> Health:
    """All sessions with upstreams are down."""
    down = dict.fromkeys(("vultr4", "vultr6"), "Connect")
    return replace(withdrawn(health), sessions=health.sessions | down)


def test_a_node_whose_sessions_are_down_is_not_kept_dark_by_a_drain(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    """Its provider may have taken the new password alone before the node has it."""
    touches[ORD] = touches[EWR] = Touch(True, frozenset({"vultr4", "vultr6"}))
    nodes.always[ORD] = cut_off
    nodes.step()
    lines: list[str] = []
    publication(nodes, lines)
    assert f"{ORD}: does not drain, since it announces nothing now" in lines
    assert last(nodes).drained == (EWR,)


def test_a_node_that_the_operator_has_drained_drains_for_the_update_as_well(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    """It may be undrained before the update has restarted its sessions."""
    touches[ORD] = Touch(True, frozenset({"vultr4", "vultr6"}))
    nodes.always[ORD] = drained
    nodes.step()
    publication(nodes)
    assert last(nodes).drained == (ORD,)
