"""What the soak draws, what it expects, and that it does not overlook what is not so."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from mesh.lab.faults import FAULTS
from mesh.plan import Plan
from mesh.spec import read_stack_file
from tests.kit.stacks import ROOT, plan_of
from tests.soak.invariants import untruths
from tests.soak.network import BOUNDS, Active, announcers, is_clean, owed
from tests.soak.steps import MOST, Scope, Step, draw

LAX, ORD, MIA, EWR = (f"{city}-vultr-1" for city in ("lax", "ord", "mia", "ewr"))
AGGREGATES = {"192.30.120.0/23", "2620:71:4000::/48"}


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The lab's."""
    return plan_of(read_stack_file(ROOT / "Pulumi.lab.yaml"), "lab")


def all_nodes(plan: Plan) -> Scope:
    return Scope(frozenset(node.id for node in plan.nodes), {})


def steps(plan: Plan, seed: int, count: int, scope: Scope) -> list[tuple[Step, Active]]:
    """Steps of a seed, each with what is active after it."""
    random, active = Random(seed), dict(scope.kept)
    drawn: list[tuple[Step, Active]] = []
    for _ in range(count):
        step = draw(random, plan, active, scope)
        active = step.after(active)
        drawn.append((step, active))
    return drawn


def test_every_fault_has_a_bound() -> None:
    assert set(BOUNDS) == set(FAULTS)


def test_a_seed_gives_the_same_steps(plan: Plan) -> None:
    scope = all_nodes(plan)
    assert steps(plan, 7, 50, scope) == steps(plan, 7, 50, scope)
    assert steps(plan, 7, 50, scope) != steps(plan, 8, 50, scope)


def test_every_verb_comes_and_somebody_always_answers(plan: Plan) -> None:
    (web,) = [service for service in plan.services if service.name == "web"]
    drawn = steps(plan, 1, 400, all_nodes(plan))
    assert {step.verb for step, _ in drawn} == {*FAULTS, "heal"}
    for _, active in drawn:
        assert len(active) <= MOST
        assert owed(plan, active, web)


def test_what_is_out_of_scope_is_left_alone(plan: Plan) -> None:
    kept = {LAX: frozenset({"service-down"})}
    for step, active in steps(plan, 1, 200, Scope(frozenset({MIA, EWR}), kept)):
        assert {MIA, EWR} & set(step.target.split(":"))
        assert active[LAX] == kept[LAX]


def test_who_announces_and_is_answered(plan: Plan) -> None:
    east, web = plan.services
    assert (east.name, web.name) == ("east", "web")
    assert announcers(plan, {}) == {LAX, ORD, MIA, EWR}
    assert announcers(plan, {MIA: frozenset({"withdraw"})}) == {LAX, ORD, EWR}
    down = frozenset({"service-down"})
    assert owed(plan, {MIA: down}, east)
    assert not owed(plan, {MIA: down, EWR: frozenset({"hang"})}, east)
    assert owed(plan, {MIA: down, EWR: frozenset({"hang"})}, web)
    # The two that are left have no way to each other.
    parted = {LAX: down, EWR: frozenset({"hang"}), MIA: frozenset({"power-loss"})}
    assert owed(plan, parted, web)
    assert not owed(plan, parted | {f"{LAX}:{ORD}": frozenset({"tunnel-cut"})}, web)


def test_a_tunnel_that_is_cut_concerns_both_its_ends(plan: Plan) -> None:
    cut = {f"{LAX}:{ORD}": frozenset({"tunnel-cut"})}
    assert [is_clean(cut, node) for node in (LAX, ORD, MIA)] == [False, False, True]


def said(plan: Plan) -> dict[str, Any]:
    """What status says of a network that is well."""
    nodes = {
        node.id: {
            "state": "applied",
            "stale": False,
            "announces": dict.fromkeys(AGGREGATES, "yes"),
            "services": dict.fromkeys(node.services, True),
        }
        for node in plan.nodes
    }
    return {"answered": True, "nodes": nodes, "problems": []}


def lies(plan: Plan, words: dict[str, Any], active: Active, silent: str = "") -> list[str]:
    """What of it is not so, where the upstreams hear all nodes but one."""
    heard = {
        node.id: {} if node.id == silent else dict.fromkeys(AGGREGATES, "27218")
        for node in plan.nodes
    }
    return list(untruths(words, heard, plan, active))


def test_the_truth_is_no_lie(plan: Plan) -> None:
    assert lies(plan, said(plan), {}) == []


def test_what_status_overlooks_is_found(plan: Plan) -> None:
    assert any("announces" in one for one in lies(plan, said(plan), {}, silent=MIA))
    assert lies(plan, said(plan), {LAX: frozenset({"registry-down"})}) == [
        "status says that a registry answers",
        f"status says nothing of {LAX}",
    ]
    assert any(
        "services web" in one for one in lies(plan, said(plan), {ORD: frozenset({"service-down"})})
    )
    assert any("applied" in one for one in lies(plan, said(plan), {ORD: frozenset({"blackhole"})}))
    assert lies(plan, said(plan) | {"problems": ["x"]}, {}) == ["all is well, and status says: x"]
    assert lies(plan, {"answered": False}, {}) == ["status says that no registry answers"]
