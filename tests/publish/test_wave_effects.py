"""How long a wave waits for its nodes to be as well as before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.publish.expected import tunnel_session
from mesh.publish.wave_effects import HOLDS, SETTLES, UNHEARD, WaveEffects, settles
from mesh.trust.documents import Health, Report, Witnessed
from mesh.trust.encoding import parse
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
MADE = FLEET.seventh
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
DOWN = replace(FLEET.well(ORD), sessions=FLEET.well(ORD).sessions | {"vultr4": "Active"})


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1000.0]
    monkeypatch.setattr("mesh.publish.wave_effects.time.monotonic", lambda: clock[0])
    return clock


def reports(rounds: int = 0, health: Health | None = None) -> dict[str, Report]:
    """All are well, and Miami has examined Chicago so many times."""
    found = {}
    for node in NODES:
        own = health if health is not None and node == ORD else FLEET.well(node)
        if rounds and node == MIA:
            own = replace(own, witnessed={ORD: Witnessed(rounds)})
        found[node] = parse(Report, FLEET.report(node, MADE, health=own).payload)
    return found


def effects(rounds: int = 0, restarting: tuple[str, ...] = ()) -> WaveEffects:
    bundle = MADE.manifest.bundle
    return WaveEffects(FLEET.plan, [ORD], restarting, reports(rounds), NODES, bundle)


def test_three_more_examinations_are_waited_for(now: list[float]) -> None:
    found = effects(rounds=5)
    for rounds, waits in ((6, True), (8, True), (9, False)):
        found.look(reports(rounds), [ORD])
        assert bool(found.pending(reports(rounds))) is waits


def test_a_witness_that_is_heard_no_more_is_not_waited_for(now: list[float]) -> None:
    found = effects(rounds=5)
    found.look(reports(6), [ORD])
    now[0] += UNHEARD
    assert not found.pending(reports(6))


def test_a_witness_that_starts_anew_counts_from_there(now: list[float]) -> None:
    found = effects(rounds=500)
    found.look(reports(500), [ORD])
    found.look(reports(1), [ORD])
    assert found.pending(reports(1))
    assert not found.pending(reports(4))


def test_what_restarted_has_to_hold(now: list[float]) -> None:
    found = effects(restarting=(ORD,))
    found.look(reports(), [ORD])
    now[0] += HOLDS - 0.1
    assert "have to stay up" in found.pending(reports())[ORD]
    now[0] += 0.2
    assert not found.pending(reports())


def test_what_is_worse_gets_its_time(now: list[float]) -> None:
    found = effects()
    found.look(reports(health=DOWN), [ORD])
    assert found.pending(reports())[ORD] == "vultr4 is Active"
    assert not found.worse()
    now[0] += settles(FLEET.plan, ORD) + 0.1
    assert [one.why for one in found.worse()[ORD]] == ["vultr4 is Active"]


def test_a_session_that_comes_and_goes_is_not_waited_for_without_end(now: list[float]) -> None:
    found = effects(restarting=(ORD,))
    for second in range(int(settles(FLEET.plan, ORD) + 2 * HOLDS) + 2):
        now[0] = 1000.0 + second
        found.look(reports(health=DOWN if second % 3 == 0 else None), [ORD])
    assert found.unsteady(reports()) == (ORD,)


def test_of_a_new_server_nobody_else_knows_how_it_was(now: list[float]) -> None:
    """Miami reported its sessions with the server that a new one replaces; they come up when Miami
    has the new key, in a later wave."""
    lost = FLEET.well(MIA).sessions | {tunnel_session(ORD): "Active"}
    after = reports()
    after[MIA] = replace(after[MIA], health=replace(after[MIA].health, sessions=lost))
    for joining, waits in (((), True), ((ORD,), False)):
        found = replace(effects(rounds=5), joining=joining, _applied={})
        found.look(after, [ORD])
        now[0] += max(UNHEARD, settles(FLEET.plan, ORD)) + 0.1
        assert (bool(found.pending(after)), bool(found.worse())) == (waits, waits)


def test_a_service_that_is_checked_slowly_gets_longer() -> None:
    slow = tuple(
        replace(one, checks=tuple(replace(c, interval=10.0, rise=3) for c in one.checks))
        for one in FLEET.plan.services
    )
    assert settles(FLEET.plan, ORD) < SETTLES + 5
    assert settles(replace(FLEET.plan, services=slow), ORD) >= SETTLES + 30


def test_a_node_has_to_run_the_bundle(now: list[float]) -> None:
    found = WaveEffects(FLEET.plan, [ORD], (), reports(), NODES, "f" * 64)
    found.look(reports(), [ORD])
    assert "not ffffffffffff" in found.pending(reports())[ORD]
