"""A generation goes out in waves, stops where it harms, and comes back."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mesh.plan import Role
from mesh.plan.waves import Touch
from mesh.publish import Fleet as State
from mesh.publish import PublishError, publish, wave_effects
from mesh.publish import rollout as rollout_module
from mesh.publish import schedule as schedule_module
from mesh.publish import stages as stages_module
from mesh.publish.choices import Choices
from mesh.publish.order import SealedBefore
from mesh.publish.registry_pool import RegistryPool
from mesh.publish.rollout_orders import Release, Rollouts
from mesh.trust.documents import Health, RolloutOrder
from mesh.trust.encoding import sha256
from mesh.trust.orders import ROLLOUT
from tests.kit.registry import BUNDLE, Fleet, holding, shared_fleet
from tests.kit.rollouts import RolloutNodes, living
from tests.kit.stacks import equal_nodes, plan_of
from tests.kit.wait import PATIENCE, until

FLEET = shared_fleet()
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
STATE = State(5, FLEET.fifth.digest, FLEET.members(), network=FLEET.network)
KNOWN = SealedBefore(5)
"""The secrets are those of generation 5."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RolloutNodes]:
    """Nodes that have generation 5 in force."""
    with holding(tmp_path, FLEET) as registry, living(RolloutNodes(FLEET, registry)) as found:
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated nodes show all effects at once. On a busy machine they report them late: whoever is
    there is waited for."""
    monkeypatch.setattr(wave_effects, "SETTLES", PATIENCE)
    monkeypatch.setattr(wave_effects, "HOLDS", 0.5)
    monkeypatch.setattr(wave_effects, "UNHEARD", PATIENCE)
    monkeypatch.setattr(rollout_module, "BASELINE", PATIENCE)
    monkeypatch.setattr(rollout_module, "AFTERMATH", 0.5)
    monkeypatch.setattr(rollout_module, "FOLLOW_SECONDS", PATIENCE)


@pytest.fixture
def harmful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is worse stays so: that it comes right is waited for in vain. Nothing restarts."""
    monkeypatch.setattr(wave_effects, "SETTLES", 0.5)
    monkeypatch.setattr(wave_effects, "HOLDS", PATIENCE)


@pytest.fixture
def unwitnessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is off, and examines no other: that is waited for in vain."""
    monkeypatch.setattr(wave_effects, "UNHEARD", 0.5)
    monkeypatch.setattr(rollout_module, "BASELINE", 0.5)


@pytest.fixture
def touches(monkeypatch: pytest.MonkeyPatch) -> dict[str, Touch]:
    """What a generation changes at the nodes: something that restarts nothing, by default."""
    found = {node: Touch(True) for node in NODES}
    monkeypatch.setattr(schedule_module, "touched", lambda *_: dict(found))
    return found


def publication(nodes: RolloutNodes, lines: list[str] | None = None, **changed: Any) -> State:
    values = {"registries": {LAX: nodes.registry.url}, "deadline": 300.0, "bundle": b"another"}
    before = changed.pop("before", None)
    order = FLEET.order(**(values | changed))
    shown: list[str] = [] if lines is None else lines
    done, _ = publish(order, STATE, shown.append, before)
    return done


def last(nodes: RolloutNodes) -> RolloutOrder:
    """The rollout order that the registry holds."""
    held = nodes.registry.registry.standing(ROLLOUT)
    assert held is not None
    return held.order


def generations(nodes: RolloutNodes) -> dict[str, int]:
    return {node: own.generation for node, own in nodes.own.items()}


def bundles(nodes: RolloutNodes) -> set[str]:
    return {own.bundle for own in nodes.own.values()}


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


# --- what stops ----------------------------------------------------------------------------------


def lost(session: str) -> Any:
    def bend(health: Health) -> Health:
        return replace(health, sessions=health.sessions | {session: "Active"})

    return bend


def withdrawn(health: Health) -> Health:
    return replace(health, announced=dict.fromkeys(health.announced or {}, ()))


def dead(health: Health) -> Health:
    return replace(health, families={"web": {"ipv4": True, "ipv6": False}})


def broken(nodes: RolloutNodes, how: str) -> str:
    """Makes a generation harmful at Chicago, and returns what is said of it."""
    if how == "rolled back":
        nodes.rolls_back[ORD] = "bird: syntax error"
        return f"{ORD} rolled back generation 6: bird: syntax error"
    if how == "transit":
        nodes.lost[ORD] = ("transit ipv6",)
        return "no longer sees its transit ipv6 work"
    bends = {"a session": lost("vultr4"), "an announcement": withdrawn, "a service": dead}
    nodes.harmed[ORD] = bends[how]
    return {
        "a session": "vultr4 is Active",
        "an announcement": "does not announce 192.30.120.0/23 on vultr4",
        "a service": "web is down in ipv6",
    }[how]


@pytest.mark.parametrize(
    "how", ["rolled back", "transit", "a session", "an announcement", "a service"]
)
@pytest.mark.usefixtures("harmful")
def test_a_wave_that_harms_a_node_stops_there_and_comes_back(
    nodes: RolloutNodes, touches: dict[str, Touch], how: str
) -> None:
    said = broken(nodes, how)
    with pytest.raises(PublishError) as error:
        publication(nodes)
    assert ORD in str(error.value) and said in str(error.value)
    assert "the content of generation 5 is in force again as generation 7" in str(error.value)
    assert set(generations(nodes).values()) == {7}
    assert not [node for node in NODES if nodes.changed(node)]
    assert bundles(nodes) == {FLEET.fifth.manifest.bundle}


def test_the_content_of_an_earlier_version_comes_back_with_the_bundle_that_can_take_it(
    tmp_path: Path, touches: dict[str, Touch]
) -> None:
    """Agents without waves open no secret that is sealed for an earlier generation."""
    with holding(tmp_path, FLEET) as registry:
        earlier = RolloutNodes(FLEET, registry, earlier=set(NODES))
        earlier.rolls_back[ORD] = "bird: syntax error"
        with living(earlier), pytest.raises(PublishError, match="is in force again"):
            publication(earlier)
    assert not [node for node in NODES if earlier.changed(node)]
    assert bundles(earlier) == {sha256(b"another")}


def test_nodes_of_later_waves_never_get_what_stops(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    nodes.rolls_back = dict.fromkeys(NODES, "bird: syntax error")
    with pytest.raises(PublishError, match="wave 1 of 4: "):
        publication(nodes)
    assert not [node for node, generation in nodes.taken if generation == 6]


@pytest.mark.usefixtures("harmful")
def test_a_node_that_alone_objects_is_named_with_the_way_on(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    nodes.lies[MIA] = (EWR, "tunnel ipv4")
    with pytest.raises(PublishError) as error:
        publication(nodes)
    text = str(error.value)
    assert f"{EWR} is not as well as before: {MIA} says: no longer sees its tunnel ipv4" in text
    assert text.endswith(f"if {MIA} is not to be believed: mesh rollout --without {MIA}")
    # And with it, all goes out.
    publication(nodes, choices=Choices(without=frozenset({MIA})))
    assert {g for n, g in generations(nodes).items() if n != MIA} == {8}


def test_content_that_no_registry_has_does_not_come_back(
    nodes: RolloutNodes, touches: dict[str, Touch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mesh.publish.registry_pool.RegistryPool.generation", lambda *_: None)
    nodes.rolls_back[LAX] = "bird: syntax error"
    text = f"no registry has what was in force before, so {EWR}, {MIA}, {ORD} keep generation 6"
    with pytest.raises(PublishError, match=text):
        publication(nodes)
    assert nodes.own[LAX].generation == 5


def test_where_nobody_else_has_it_nothing_is_published_again(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    """So the node goes on to say why it has rolled back."""
    nodes.rolls_back[EWR] = "bird: syntax error"
    with pytest.raises(PublishError, match="what was in force before stays so everywhere"):
        publication(nodes)
    assert set(generations(nodes).values()) == {5}
    assert nodes.own[EWR].reason == "bird: syntax error"


def test_a_node_that_fell_silent_in_its_wave_is_not_released_any_more(
    nodes: RolloutNodes, touches: dict[str, Touch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_module, "WAVE_SECONDS", 2.0)
    nodes.deaf.add(EWR)
    with pytest.raises(PublishError, match=f"wave 1 of 4: {EWR}: no report on generation 6 within"):
        publication(nodes)
    nodes.step()  # nobody follows the order before any more
    nodes.deaf.clear()
    nodes.step()
    assert last(nodes).released == () and nodes.own[EWR].generation == 5


def test_a_node_that_rolled_back_does_not_try_again_later_by_itself(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    """Its agent may start anew when nobody looks any more, and what was wrong may have gone."""
    nodes.rolls_back[EWR] = "after 15 s sessions are down that were up before: vultr4"
    with pytest.raises(PublishError, match="stays so everywhere"):
        publication(nodes)
    nodes.step()  # nobody follows the order before any more
    nodes.rolls_back.clear()
    nodes.own[EWR].decided = ""
    nodes.step()
    assert last(nodes).released == () and nodes.own[EWR].generation == 5


@pytest.mark.parametrize("how", ["rolls back", "says nothing"])
def test_where_a_node_stops_an_update_the_way_on_without_it_is_told(
    nodes: RolloutNodes, touches: dict[str, Touch], how: str
) -> None:
    if how == "rolls back":
        nodes.rolls_back[EWR] = "bird: syntax error"
    else:
        nodes.deaf.add(EWR)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PublishError) as error:
        patch.setattr(rollout_module, "WAVE_SECONDS", 2.0)
        publication(nodes)
    assert str(error.value).endswith(f"mesh rollout --without {EWR}")
    publication(nodes, choices=Choices(without=frozenset({EWR})))
    assert {g for n, g in generations(nodes).items() if n != EWR} == {7}


def test_the_only_announcer_of_a_prefix_is_not_restarted_by_surprise(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[ORD] = Touch(True, frozenset({"vultr4", "vultr6"}))
    plan = only_announced_by(ORD)
    with pytest.raises(PublishError) as error:
        publication(nodes, plan=plan)
    text = str(error.value)
    assert f"{ORD}: vultr4, vultr6 start anew" in text
    assert "unreachable for up to 15 s" in text and "--accept-outage" in text
    current = nodes.registry.registry.current()
    assert current is not None and current.manifest.generation == 5
    done = publication(nodes, plan=plan, choices=Choices(accept_outage=True))
    assert done.generation == 6


def only_announced_by(node: str) -> Any:
    aggregates = tuple(replace(each, nodes=(node,)) for each in FLEET.plan.aggregates)
    return replace(FLEET.plan, aggregates=aggregates)


# --- interrupted ---------------------------------------------------------------------------------


class Killed(BaseException):
    """The operator's process ends here."""


class KilledAt(list[str]):
    """The lines of an update that is killed when it shows a wave."""

    def __init__(self, wave: int) -> None:
        super().__init__()
        self._begin = f"wave {wave} of 4: "

    def append(self, line: str) -> None:
        if line.startswith(self._begin):
            raise Killed


@pytest.mark.parametrize("wave", [1, 2, 3, 4])
def test_an_update_that_was_killed_is_finished_by_the_next(
    nodes: RolloutNodes, touches: dict[str, Touch], wave: int
) -> None:
    with pytest.raises(Killed):
        publication(nodes, KilledAt(wave))
    assert publication(nodes).generation == 7
    assert set(generations(nodes).values()) == {7}


@pytest.mark.parametrize(("wave", "kept"), [(2, [LAX, ORD]), (3, [LAX])])
def test_what_stops_after_an_update_that_was_killed_reaches_no_node_that_did_not_have_it(
    nodes: RolloutNodes, touches: dict[str, Touch], wave: int, kept: list[str]
) -> None:
    """The others go back to what they had: what was released when it was killed."""
    with pytest.raises(Killed):
        publication(nodes, KilledAt(wave))
    until(lambda: [n for n in NODES if nodes.reported[n] == 5] == kept, 1, "what was released")
    nodes.rolls_back[kept[-1]] = "bird: syntax error"
    text = f"generation 8; {', '.join(kept)} did not have that before, and keeps what it has; "
    with pytest.raises(PublishError, match=text):
        publication(nodes)
    assert generations(nodes) == {n: 5 if n in kept else 8 for n in NODES}
    assert not last(nodes).everyone and not set(kept) & set(last(nodes).released)


def test_nodes_that_had_it_when_an_update_was_killed_restart_nothing_again(
    nodes: RolloutNodes,
) -> None:
    another: dict[str, Any] = {
        "passwords": {"vultr": "another"},
        "sealed_before": SealedBefore(5, frozenset({"bgpPassword-vultr"}), 6),
    }
    with pytest.raises(Killed):
        publication(nodes, KilledAt(3), **another)
    assert set(last(nodes).drained) == {EWR, MIA, ORD}
    until(lambda: nodes.reported == {EWR: 6, MIA: 6, ORD: 6, LAX: 5}, 1, "what was released")
    publication(nodes, **another)
    assert set(last(nodes).drained) == {LAX}
    assert set(generations(nodes).values()) == {7}


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


class BackAt(list[str]):
    """The lines of an update, in whose second wave Miami comes back."""

    def __init__(self, nodes: RolloutNodes) -> None:
        super().__init__()
        self._nodes = nodes

    def append(self, line: str) -> None:
        super().append(line)
        if line.startswith("wave 2 of 3: "):
            back(self._nodes, MIA)


@pytest.mark.usefixtures("unwitnessed")
def test_a_node_that_was_off_and_comes_back_between_two_waves_follows_in_one_more(
    nodes: RolloutNodes,
) -> None:
    missed_two(nodes)
    lines = BackAt(nodes)
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
        publication(nodes, BackAt(nodes), bundle=b"three", sealed_before=KNOWN)
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
    lines = OffAt(nodes, LAX, wave)
    with pytest.raises(PublishError) as error:
        publication(nodes, lines, registries={ORD: nodes.registry.url})
    assert f"{LAX}: no other node reaches it, and takes it over when it is back" in str(error.value)
    assert generations(nodes) == {LAX: 5, ORD: 6, MIA: 6, EWR: 6}
    assert f"{LAX}: no other node reaches it, and it goes on waiting" in lines
    nodes.off.clear()
    until(lambda: generations(nodes)[LAX] == 6, 1, "it has what the others have")


class OffAt(list[str]):
    """The lines of an update; a node goes off when it shows a wave, 0 for before."""

    def __init__(self, nodes: RolloutNodes, node: str, wave: int) -> None:
        super().__init__()
        self._nodes, self._node, self._begin = nodes, node, f"wave {wave} of 4: "
        if not wave:
            self._end()

    def _end(self) -> None:
        self._nodes.off[self._node] = time.time()
        rounds = self._nodes.rounds
        until(lambda: self._nodes.rounds > rounds + 1, 1, "the others have told it")

    def append(self, line: str) -> None:
        super().append(line)
        if line.startswith(self._begin):
            self._end()


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


class DrainingOthers(list[str]):
    """The lines of an update during which the operator drains all nodes but Los Angeles."""

    def __init__(self, nodes: RolloutNodes) -> None:
        super().__init__()
        self._nodes = nodes

    def append(self, line: str) -> None:
        super().append(line)
        if line.startswith("wave 1 of 4: "):
            self._nodes.always = dict.fromkeys((MIA, ORD, EWR), drained)
        if "waiting for one" in line:
            self._nodes.always = {}


def test_the_last_announcer_waits_until_another_node_announces(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[LAX] = Touch(True, frozenset({"vultr4", "vultr6"}))
    lines = DrainingOthers(nodes)
    publication(nodes, lines)
    waits = f"no other node announces the prefixes of {LAX} any more; waiting for one"
    assert f"wave 4 of 4: {waits}" in lines
    assert last(nodes).drained == (LAX,)


def test_an_accepted_outage_waits_for_no_other_announcer(
    nodes: RolloutNodes, touches: dict[str, Touch]
) -> None:
    touches[LAX] = Touch(True, frozenset({"vultr4", "vultr6"}))
    lines = DrainingOthers(nodes)
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


def drained(health: Health) -> Health:
    return replace(idle(health), drained=True)


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
