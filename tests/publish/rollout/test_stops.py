"""What stops an update, and what becomes of one that is killed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.plan.waves import Touch
from mesh.publish import PublishError
from mesh.publish import rollout as rollout_module
from mesh.publish.choices import Choices
from mesh.publish.order import SealedBefore
from mesh.trust.documents import Health
from mesh.trust.encoding import sha256
from tests.kit.registry import holding
from tests.kit.rollouts import RolloutNodes, living
from tests.kit.wait import until
from tests.publish.rollout.updates import (
    EWR,
    FLEET,
    LAX,
    MIA,
    NODES,
    ORD,
    Lines,
    bundles,
    dead,
    generations,
    last,
    only_announced_by,
    publication,
    withdrawn,
)

# --- what stops ----------------------------------------------------------------------------------


def lost(session: str) -> Any:
    def bend(health: Health) -> Health:
        return replace(health, sessions=health.sessions | {session: "Active"})

    return bend


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


# --- interrupted ---------------------------------------------------------------------------------


class Killed(BaseException):
    """The operator's process ends here."""


def killed_at(wave: int) -> Lines:
    """The lines of an update that is killed when it shows a wave."""

    def kill(line: str) -> None:
        if line.startswith(f"wave {wave} of 4: "):
            raise Killed

    return Lines(kill)


@pytest.mark.parametrize("wave", [1, 2, 3, 4])
def test_an_update_that_was_killed_is_finished_by_the_next(
    nodes: RolloutNodes, touches: dict[str, Touch], wave: int
) -> None:
    with pytest.raises(Killed):
        publication(nodes, killed_at(wave))
    assert publication(nodes).generation == 7
    assert set(generations(nodes).values()) == {7}


@pytest.mark.parametrize(("wave", "kept"), [(2, [LAX, ORD]), (3, [LAX])])
def test_what_stops_after_an_update_that_was_killed_reaches_no_node_that_did_not_have_it(
    nodes: RolloutNodes, touches: dict[str, Touch], wave: int, kept: list[str]
) -> None:
    """The others go back to what they had: what was released when it was killed."""
    with pytest.raises(Killed):
        publication(nodes, killed_at(wave))
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
        publication(nodes, killed_at(3), **another)
    assert set(last(nodes).drained) == {EWR, MIA, ORD}
    until(lambda: nodes.reported == {EWR: 6, MIA: 6, ORD: 6, LAX: 5}, 1, "what was released")
    publication(nodes, **another)
    assert set(last(nodes).drained) == {LAX}
    assert set(generations(nodes).values()) == {7}
