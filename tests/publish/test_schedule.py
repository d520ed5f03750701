"""In which waves a generation goes out, and what there is to go back to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from mesh.operating_systems import OperatingSystem
from mesh.plan.waves import Touch
from mesh.publish import schedule as schedule_module
from mesh.publish.choices import Choices
from mesh.publish.held import HeldGeneration
from mesh.publish.recent import LATE_SECONDS, SILENT_SECONDS, late, silent
from mesh.publish.schedule import Schedule, scheduled
from mesh.trust.documents import Report
from mesh.trust.encoding import parse
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
MADE = FLEET.seventh
HELD = {
    made.manifest.generation: HeldGeneration(made.generation, made.manifest)
    for made in (FLEET.fifth, FLEET.generation(6))
}


NO_CHOICES = Choices()


@pytest.fixture
def touches(monkeypatch: pytest.MonkeyPatch) -> dict[str, Touch]:
    found = {node: Touch(True) for node in NODES}
    monkeypatch.setattr(schedule_module, "touched", lambda *_: dict(found))
    return found


def reports(
    ages: Mapping[str, float] | None = None, applied: tuple[int, ...] = (5, 5, 5, 5)
) -> dict[str, Report]:
    """The nodes' last reports, just now but for these ages in seconds."""
    found = {}
    for node, number in zip(NODES, applied, strict=True):
        age = (ages or {}).get(node, 1.0)
        sequence = int((time.time() - age) * 1e6)
        said = FLEET.report(node, FLEET.fifth, sequence, applied=number)
        found[node] = parse(Report, said.payload)
    return found


def schedule(
    said: Mapping[str, Report],
    choices: Choices = NO_CHOICES,
    new: tuple[str, ...] = (),
) -> Schedule:
    facts = {node: member.facts for node, member in FLEET.members().items()}
    return scheduled(FLEET.order(choices=choices), MADE, facts, said, HELD, new)


def members(found: Schedule) -> set[str]:
    return {node for wave in found.waves for node in wave.nodes}


def test_a_silent_node_goes_on_waiting(touches: dict[str, Touch]) -> None:
    found = schedule(reports({MIA: SILENT_SECONDS + 5}))
    assert found.away.nodes == {MIA: "has not reported for some time"}
    assert members(found) == set(NODES) - {MIA}


def test_a_node_that_joins_has_nothing_to_report(touches: dict[str, Touch]) -> None:
    touches[MIA] = Touch(True, joins=True)
    said = reports()
    del said[MIA]
    found = schedule(said, new=(MIA,))
    assert found.waves[0].nodes == (MIA,)
    assert not found.away.nodes


def test_a_node_of_the_state_of_which_nothing_is_known_does_not_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its registry may have lost its data, or hide what it has."""
    monkeypatch.setattr("tests.publish.test_schedule.HELD", {})
    said = reports()
    del said[MIA]
    found = schedule(said)
    assert found.away.nodes.keys() == {MIA} and MIA not in members(found)


def test_where_all_are_silent_it_is_our_own_clock() -> None:
    assert silent(reports(dict.fromkeys(NODES, 600.0)), NODES) == frozenset()


def test_a_report_may_be_late_for_some_minutes_or_the_first_one() -> None:
    ages = {LAX: 0.0, MIA: SILENT_SECONDS + 5, EWR: LATE_SECONDS + 5}
    said = reports(ages)
    del said[ORD]
    assert silent(said, NODES) == {MIA, EWR, ORD}
    assert late(said, NODES) == {MIA, ORD}


def test_a_registry_that_is_new_has_heard_nobody_yet() -> None:
    assert late({}, NODES) == set(NODES)


def test_who_is_not_waited_for_is_in_no_wave(touches: dict[str, Touch]) -> None:
    found = schedule(reports(), Choices(without=frozenset({MIA})))
    assert members(found) == set(NODES) - {MIA}


@pytest.mark.parametrize(
    ("applied", "former"),
    [
        ((5, 5, 5, 5), 5),
        ((6, 6, 5, 6), 6),
        ((6, 6, 5, 5), 6),
        ((4, 4, 4, 4), None),
        ((0, 0, 0, 0), None),
    ],
)
def test_what_most_nodes_have_in_force_is_what_comes_back(
    touches: dict[str, Touch], applied: tuple[int, ...], former: int | None
) -> None:
    found = schedule(reports(applied=applied)).former
    assert (None if found is None else found.manifest.generation) == former


def test_a_generation_shows_that_it_works_on_each_operating_system(
    touches: dict[str, Touch],
) -> None:
    facts = {node: member.facts for node, member in FLEET.members().items()}
    facts[MIA] = replace(facts[MIA], os=OperatingSystem.OPENBSD)
    found = scheduled(FLEET.order(), MADE, facts, reports(), HELD, ())
    first = {
        node for wave in found.waves if wave.why.startswith("the first") for node in wave.nodes
    }
    assert MIA in first and len(first) == 2


def test_content_of_another_network_does_not_come_back(
    touches: dict[str, Touch], monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = replace(FLEET.fifth.manifest, network="another")
    monkeypatch.setitem(HELD, 5, HeldGeneration(FLEET.fifth.generation, foreign))
    assert schedule(reports()).former is None


def test_a_silent_node_stands_in_for_no_other(touches: dict[str, Touch]) -> None:
    touches[ORD] = Touch(True, frozenset({"vultr4", "vultr6"}))
    assert not schedule(reports()).outages
    found = schedule(reports(dict.fromkeys((LAX, MIA, EWR), 600.0)))
    assert found.outages.keys() == {ORD}
    assert all(not wave.drained for wave in found.waves)
