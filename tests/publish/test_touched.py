"""What a generation changes at each node, compared with what the nodes have in force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.plan import Plan
from mesh.plan.waves import Touch
from mesh.publish.generation import SignedGeneration, make, restored
from mesh.publish.held import HeldGeneration
from mesh.publish.order import SealedBefore
from mesh.publish.touched import touched
from mesh.trust.documents import PackedGeneration, Report
from mesh.trust.encoding import parse
from tests.kit.registry import shared_fleet
from tests.kit.stacks import plan_of, prod, two_services

FLEET = shared_fleet()
NODES = tuple(FLEET.facts)
LAX, ORD = "lax-vultr-1", "ord-vultr-1"
UPSTREAMS = frozenset({"vultr4", "vultr6"})
VULTR = "bgpPassword-vultr"
STATE = SealedBefore(5)
UNCHANGED, CHANGED = Touch(changed=False), Touch(changed=True)


def held(made: SignedGeneration) -> HeldGeneration:
    return HeldGeneration(made.generation, made.manifest)


def patient(node: str) -> Plan:
    """The seed's network with another hold time at a node's upstreams."""
    nodes = tuple(
        replace(one, upstreams=tuple(replace(each, hold_time=30) for each in one.upstreams))
        if one.id == node
        else one
        for one in FLEET.plan.nodes
    )
    return replace(FLEET.plan, nodes=nodes)


def reports(made: SignedGeneration, **changed: Any) -> dict[str, Report]:
    """What nodes report on a generation that they have applied."""
    return {
        node: parse(Report, FLEET.report(node, made, **changed).payload)
        for node in made.manifest.nodes
    }


def touches(
    made: SignedGeneration,
    before: SignedGeneration = FLEET.fifth,
    said: dict[str, Report] | None = None,
    sealed: SealedBefore | None = STATE,
    plan: Plan | None = None,
    new: tuple[str, ...] = NODES,
) -> dict[str, Touch]:
    """What ``made`` changes at nodes that have ``before``."""
    order = FLEET.order(plan=plan or FLEET.plan, sealed_before=sealed)
    last = reports(before) if said is None else said
    return touched(order, made, last.values(), {before.manifest.generation: held(before)}, new)


# --- files ---------------------------------------------------------------------------------------


def test_the_same_content_under_another_number_changes_nothing() -> None:
    """It is sealed anew, and so no part is the same."""
    assert touches(FLEET.generation(6)) == dict.fromkeys(NODES, UNCHANGED)


def test_a_service_more_changes_every_node_and_restarts_no_session() -> None:
    plan = plan_of(two_services())
    assert touches(FLEET.generation(6, plan=plan), plan=plan) == dict.fromkeys(NODES, CHANGED)


def test_another_hold_time_starts_the_upstreams_sessions_anew_at_that_node() -> None:
    plan = patient(ORD)
    found = touches(FLEET.generation(6, plan=plan), plan=plan)
    expected = Touch(changed=True, restarts=UPSTREAMS)
    assert found == {**dict.fromkeys(NODES, UNCHANGED), ORD: expected}


def test_another_bundle_changes_every_node_and_restarts_no_session() -> None:
    assert touches(FLEET.generation(6, bundle=b"another")) == dict.fromkeys(NODES, CHANGED)


def test_a_node_that_runs_from_another_bundle_than_its_generations_is_changed() -> None:
    said = reports(FLEET.fifth)
    said[ORD] = replace(said[ORD], bundle="0" * 64)
    found = touches(FLEET.generation(6), said=said)
    assert found == {**dict.fromkeys(NODES, UNCHANGED), ORD: CHANGED}


def test_only_the_sessions_that_differ_restart_where_a_generation_came_whole() -> None:
    """As registries of earlier versions give it."""
    whole = FLEET.fifth.generation.unpacked()
    places: dict[str, tuple[int, ...]] = {node: (at,) for at, node in enumerate(whole.parts)}
    packed = PackedGeneration(whole.manifest, tuple(whole.parts.values()), places, "")
    plan = patient(ORD)
    made = FLEET.generation(6, plan=plan)
    found = touches(made, replace(FLEET.fifth, generation=packed), plan=plan)
    expected = Touch(changed=True, restarts=UPSTREAMS)
    assert found == {**dict.fromkeys(NODES, UNCHANGED), ORD: expected}


# --- what nodes have in force --------------------------------------------------------------------


def test_a_node_with_nothing_in_force_joins() -> None:
    said = reports(FLEET.fifth)
    said[ORD] = replace(said[ORD], applied=0)
    assert touches(FLEET.generation(6), said=said)[ORD] == Touch(changed=True, joins=True)


def test_a_node_that_no_generation_has_had_joins() -> None:
    members = {node: one for node, one in FLEET.members().items() if node != ORD}
    fifth = make(FLEET.order(), members, 5, FLEET.network)
    assert touches(FLEET.generation(6), fifth)[ORD] == Touch(changed=True, joins=True)


def test_a_node_of_the_state_that_no_registry_knows_does_not_join() -> None:
    """They may have lost its generation, or hide it."""
    members = {node: one for node, one in FLEET.members().items() if node != ORD}
    fifth = make(FLEET.order(), members, 5, FLEET.network)
    others = tuple(node for node in NODES if node != ORD)
    found = touches(FLEET.generation(6), fifth, new=others)[ORD]
    assert (found.joins, found.sure) == (False, False) and found.restarts >= UPSTREAMS


def test_a_node_with_a_new_server_joins() -> None:
    """Its predecessor's report is signed with another identity, and so there is none."""
    said = reports(FLEET.fifth)
    del said[ORD]
    made = FLEET.generation(6)
    nodes = made.manifest.nodes
    nodes = {**nodes, ORD: replace(nodes[ORD], identity=nodes[LAX].identity)}
    made = replace(made, manifest=replace(made.manifest, nodes=nodes))
    assert touches(made, said=said)[ORD] == Touch(changed=True, joins=True)


def test_a_silent_node_is_taken_to_have_the_last_generation_but_that_is_not_sure() -> None:
    said = reports(FLEET.fifth)
    del said[ORD]
    assert touches(FLEET.generation(6), said=said)[ORD] == Touch(changed=False, sure=False)


def test_all_sessions_of_a_node_restart_whose_generation_nobody_holds() -> None:
    said = reports(FLEET.fifth)
    said[ORD] = replace(said[ORD], applied=3)
    found = touches(FLEET.generation(6), said=said)[ORD]
    assert (found.changed, found.sure) == (True, False)
    assert found.restarts >= {*UPSTREAMS, "u_lax_vultr_1", "mate4_lax_vultr_1"}


def test_all_sessions_of_a_node_restart_whose_part_cannot_be_read() -> None:
    fifth = FLEET.fifth
    texts = [text.replace('"units"', '"later":0,"units"') for text in fifth.generation.texts]
    later = replace(fifth, generation=replace(fifth.generation, texts=tuple(texts)))
    found = touches(FLEET.generation(6), later)
    assert {(one.changed, one.sure) for one in found.values()} == {(True, False)}


def test_a_node_that_has_it_already_is_not_changed() -> None:
    made = FLEET.generation(6)
    said = {**reports(FLEET.fifth), ORD: reports(made)[ORD]}
    assert touches(made, said=said) == dict.fromkeys(NODES, UNCHANGED)


# --- secrets -------------------------------------------------------------------------------------

SECRETS: dict[str, tuple[SealedBefore | None, Touch]] = {
    "as in the state": (SealedBefore(5), UNCHANGED),
    "another password": (
        SealedBefore(5, frozenset({VULTR})),
        Touch(changed=True, restarts=UPSTREAMS),
    ),
    "another password of somebody else": (
        SealedBefore(5, frozenset({"bgpPassword-buyvm"})),
        UNCHANGED,
    ),
    "another password, which an interrupted update has brought": (
        SealedBefore(4, frozenset({VULTR}), since=5),
        UNCHANGED,
    ),
    "unknown since an update in between": (
        SealedBefore(4),
        Touch(changed=True, restarts=UPSTREAMS, sure=False),
    ),
    "unknown to the state": (None, Touch(changed=True, restarts=UPSTREAMS, sure=False)),
}


@pytest.mark.parametrize("case", SECRETS)
def test_the_sessions_restart_whose_password_may_be_another(case: str) -> None:
    sealed, expected = SECRETS[case]
    assert touches(FLEET.generation(6), sealed=sealed) == dict.fromkeys(NODES, expected)


def back(made: SignedGeneration, number: int) -> SignedGeneration:
    """The content of a generation under a new number, its parts as they were sealed."""
    nodes = {
        node: replace(entry, sealed_in=made.manifest.generation)
        for node, entry in made.manifest.nodes.items()
    }
    return replace(made, manifest=replace(made.manifest, generation=number, nodes=nodes))


def test_a_node_that_joined_before_the_content_came_back_is_compared_too() -> None:
    """Its part is one text among others' pieces."""
    members = {node: one for node, one in FLEET.members().items() if node != ORD}
    former = make(FLEET.order(), members, 5, FLEET.network)
    order, failed = FLEET.order(), FLEET.generation(6)
    again = restored(order, former.generation, former.manifest, 7, failed, former.manifest.bundle)
    found = touches(FLEET.generation(8), again, sealed=SealedBefore(5, since=6))
    assert found == {**dict.fromkeys(NODES, CHANGED), ORD: UNCHANGED}


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (6, Touch(changed=True, restarts=UPSTREAMS)),
        (None, Touch(changed=True, restarts=UPSTREAMS, sure=False)),
    ],
)
def test_going_back_to_the_former_content_changes_the_password_back(
    since: int | None, expected: Touch
) -> None:
    sealed = SealedBefore(5, frozenset({VULTR}), since)
    failed, former = FLEET.generation(6), back(FLEET.fifth, 7)
    said = {**reports(FLEET.fifth), ORD: reports(failed)[ORD]}
    order = FLEET.order(sealed_before=sealed)
    found = touched(order, former, said.values(), {5: held(FLEET.fifth), 6: held(failed)}, NODES)
    assert found == {**dict.fromkeys(NODES, UNCHANGED), ORD: expected}


def test_after_going_back_the_nodes_have_the_secrets_of_before() -> None:
    former = back(FLEET.fifth, 7)
    sealed = SealedBefore(5, frozenset({VULTR}), since=6)
    found = touches(FLEET.generation(8), former, sealed=sealed)
    assert found == dict.fromkeys(NODES, Touch(changed=True, restarts=UPSTREAMS))


def test_another_secret_of_a_receiver_changes_the_nodes_that_monitor_alone() -> None:
    monitoring = {"nodes": [LAX], "receivers": {"ops": {"kind": "webhook"}}}
    plan = plan_of(prod() | {"monitoring": monitoring})
    how: dict[str, Any] = {"plan": plan, "receivers": {"ops": "https://hook.example.net/x"}}
    before = FLEET.generation(5, **how)
    sealed = SealedBefore(5, frozenset({"alertReceiver-ops"}))
    found = touches(FLEET.generation(6, **how), before, sealed=sealed, plan=plan)
    assert found == {**dict.fromkeys(NODES, UNCHANGED), LAX: CHANGED}
