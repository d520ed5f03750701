"""What counts as worse after a change than before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mesh.plan import Plan, Role
from mesh.plan.waves import Wave
from mesh.publish.effects import around, objections
from mesh.publish.witnesses import EACH, witnesses
from mesh.trust.documents import Down, Health, Report, Witnessed
from mesh.trust.encoding import parse
from tests.kit.registry import shared_fleet

FLEET = shared_fleet()
PLAN, MADE = FLEET.plan, FLEET.seventh
LAX, ORD, MIA, EWR = NODES = ("lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1")
SEEN = ("announced ipv4", "transit ipv6", "tunnel ipv4")


def reports(**changed: Health) -> dict[str, Report]:
    """All nodes are well and see the others, but for those that are named."""
    said = {
        node: FLEET.report(
            node,
            MADE,
            time.time_ns() // 1000,
            health=changed.get(node.replace("-", "_"), well(node)),
        )
        for node in NODES
    }
    return {node: parse(Report, signed.payload) for node, signed in said.items()}


def well(node: str, **changed: Any) -> Health:
    values: dict[str, Any] = {
        "families": {"web": {"ipv4": True, "ipv6": True}},
        "witnessed": {other: Witnessed(5, SEEN) for other in NODES},
        "faults": {},
    }
    return FLEET.well(node, **(values | changed))


def down(node: str, *names: str, **changed: Any) -> Health:
    """A node's health with these sessions down."""
    sessions = FLEET.well(node).sessions | dict.fromkeys(names, "Active")
    return well(node, sessions=sessions, **changed)


def found(
    after: Mapping[str, Report],
    before: Mapping[str, Report] | None = None,
    plan: Plan = PLAN,
    changed: tuple[str, ...] = (ORD,),
) -> list[str]:
    """What is worse at Chicago."""
    known = reports() if before is None else before
    near = around(plan, [ORD], known, NODES)[ORD]
    all_of = objections(plan, plan.node(ORD), near, known, after, time.time(), changed)
    return [f"{one.who}: {one.why}" for one in all_of]


UPSTREAM = {**(FLEET.well(ORD).announced or {}), "vultr4": ()}
WORSE: dict[str, tuple[dict[str, Health], str]] = {
    "a session is down": (
        {"ord_vultr_1": down(ORD, "vultr4", down={"vultr4": Down("Received: Cease")})},
        f"{ORD}: vultr4 is Active, Received: Cease",
    ),
    "a session is gone": (
        {
            "ord_vultr_1": well(
                ORD,
                sessions={n: s for n, s in FLEET.well(ORD).sessions.items() if n != "vultr6"},
            )
        },
        f"{ORD}: vultr6 is missing",
    ),
    "BIRD is dead": (
        {"ord_vultr_1": well(ORD, bird="does not run", sessions={}, announced=None)},
        f"{ORD}: BIRD does not run",
    ),
    "a prefix is not exported": (
        {"ord_vultr_1": well(ORD, announced=UPSTREAM)},
        f"{ORD}: does not announce 192.30.120.0/23 on vultr4",
    ),
    "a service is down in one family": (
        {
            "ord_vultr_1": well(
                ORD,
                families={"web": {"ipv4": False, "ipv6": True}},
                failures={"web": "ipv4: refused"},
            )
        },
        f"{ORD}: web is down in ipv4: ipv4: refused",
    ),
    "a fault that is new": (
        {"ord_vultr_1": well(ORD, faults={"files": "/etc/x cannot be written"})},
        f"{ORD}: files: /etc/x cannot be written",
    ),
    "only this node has lost a peer": (
        {"ord_vultr_1": down(ORD, "u_ewr_vultr_1")},
        f"{ORD}: u_ewr_vultr_1 is Active",
    ),
    "the far end has lost its session": (
        {"mia_vultr_1": down(MIA, "u_ord_vultr_1")},
        f"{MIA}: its u_ord_vultr_1 is Active",
    ),
    "a witness sees less": (
        {"mia_vultr_1": well(MIA, witnessed={ORD: Witnessed(9, SEEN[:1] + SEEN[2:])})},
        f"{MIA}: no longer sees its transit ipv6 work",
    ),
}


@pytest.mark.parametrize("case", WORSE)
def test_what_is_worse_is_said_with_who_says_it(case: str) -> None:
    after, said = WORSE[case]
    assert found(reports(**after)) == [said]


def without_upstream(plan: Plan) -> Plan:
    """The plan without Chicago's IPv4 upstream."""
    nodes = tuple(
        replace(node, upstreams=tuple(s for s in node.upstreams if s.name != "vultr4"))
        if node.id == ORD
        else node
        for node in plan.nodes
    )
    return replace(plan, nodes=nodes)


ILL = down(ORD, "vultr4", announced=UPSTREAM, faults={"disk": "is full"})
FINE: dict[str, tuple[dict[str, Health], dict[str, Health], Plan]] = {
    "nothing changed": ({}, {}, PLAN),
    "it was so before": ({"ord_vultr_1": ILL}, {"ord_vultr_1": ILL}, PLAN),
    "it is no longer planned": (
        {},
        {"ord_vultr_1": down(ORD, "vultr4", announced=UPSTREAM)},
        without_upstream(PLAN),
    ),
    "the operator drains it": (
        {},
        {"ord_vultr_1": well(ORD, drained=True, announced={"vultr4": (), "vultr6": ()},
                             families={"web": {"ipv4": False, "ipv6": False}})},
        PLAN,
    ),
    "a third node died": (
        {},
        {
            "ord_vultr_1": down(ORD, "u_ewr_vultr_1", "mate4_ewr_vultr_1", "mate6_ewr_vultr_1"),
            "lax_vultr_1": down(LAX, "u_ewr_vultr_1"),
            "ewr_vultr_1": down(EWR, "u_ord_vultr_1", "u_lax_vultr_1"),
        },
        PLAN,
    ),
    "a peer is off": (
        {},
        {
            "ord_vultr_1": down(ORD, "u_ewr_vultr_1", "mate4_ewr_vultr_1", "mate6_ewr_vultr_1"),
            "lax_vultr_1": down(LAX, "u_ewr_vultr_1"),
            "mia_vultr_1": down(MIA, "u_ewr_vultr_1"),
        },
        PLAN,
    ),
    "two peers are off": (
        {},
        {
            "ord_vultr_1": down(ORD, "u_ewr_vultr_1", "u_mia_vultr_1"),
            "lax_vultr_1": down(LAX, "u_ewr_vultr_1", "u_mia_vultr_1"),
        },
        PLAN,
    ),
    "a peer has been off since before": (
        {"lax_vultr_1": down(LAX, "u_ewr_vultr_1"), "mia_vultr_1": down(MIA, "u_ewr_vultr_1")},
        {
            "ord_vultr_1": down(ORD, "mate4_ewr_vultr_1", "u_ewr_vultr_1"),
            "lax_vultr_1": down(LAX, "u_ewr_vultr_1"),
            "mia_vultr_1": down(MIA, "u_ewr_vultr_1"),
        },
        PLAN,
    ),
    "a witness of an earlier version": ({}, {"mia_vultr_1": well(MIA, witnessed={})}, PLAN),
}  # fmt: skip


@pytest.mark.parametrize("case", FINE)
def test_what_is_not_held_against_a_change(case: str) -> None:
    before, after, plan = FINE[case]
    assert found(reports(**after), reports(**before), plan) == []


def test_a_session_between_two_nodes_that_both_changed_counts_for_each() -> None:
    after = reports(ord_vultr_1=down(ORD, "u_mia_vultr_1"), mia_vultr_1=down(MIA, "u_ord_vultr_1"))
    said = found(after, changed=(ORD, MIA))
    assert said == [f"{ORD}: u_mia_vultr_1 is Active", f"{MIA}: its u_ord_vultr_1 is Active"]


def test_the_word_of_nodes_that_changed_too_does_not_make_a_peer_one_that_is_off() -> None:
    lost = {f"{n[:3]}_vultr_1": down(n, "u_ewr_vultr_1") for n in (ORD, LAX, MIA)}
    after = reports(**lost)
    assert found(after, changed=(ORD, LAX)) == []
    assert found(after, changed=(ORD, LAX, MIA)) == [f"{ORD}: u_ewr_vultr_1 is Active"]


def test_a_registry_that_moves_away_need_not_answer_any_more() -> None:
    before = reports(mia_vultr_1=well(MIA, witnessed={LAX: Witnessed(5, ("registry",))}))
    after = reports(mia_vultr_1=well(MIA, witnessed={LAX: Witnessed(7, ())}))
    moved = replace(
        PLAN,
        nodes=tuple(
            replace(node, roles=tuple(r for r in node.roles if r is not Role.REGISTRY))
            for node in PLAN.nodes
        ),
    )
    for plan, said in ((PLAN, 1), (moved, 0)):
        near = around(plan, [LAX], before, NODES)[LAX]
        worse = objections(plan, plan.node(LAX), near, before, after, time.time())
        assert len(worse) == said


def test_a_node_that_has_one_neighbor_left_forwards_to_nobody() -> None:
    """The network of three has become one of two."""
    links = tuple(link for link in PLAN.node(ORD).links if link.peer == MIA)
    smaller = replace(
        PLAN,
        nodes=tuple(replace(n, links=links) if n.id == ORD else n for n in PLAN.nodes),
    )
    after = reports(mia_vultr_1=well(MIA, witnessed={ORD: Witnessed(9, SEEN[:1])}))
    assert found(after) == [
        f"{MIA}: no longer sees its transit ipv6 work",
        f"{MIA}: no longer sees its tunnel ipv4 work",
    ]
    assert found(after, plan=smaller) == [f"{MIA}: no longer sees its tunnel ipv4 work"]


@pytest.mark.parametrize(("restarts", "said"), [(False, 1), (True, 0)])
def test_after_its_sessions_start_anew_packets_may_be_late_at_its_uplink(
    restarts: bool, said: int
) -> None:
    before = reports(ord_vultr_1=well(ORD, witnessed={ORD: Witnessed(5, ("uplink ipv6",))}))
    after = reports(ord_vultr_1=well(ORD, witnessed={ORD: Witnessed(9, ())}))
    near = around(PLAN, [ORD], before, NODES)[ORD]
    worse = objections(PLAN, PLAN.node(ORD), near, before, after, time.time(), restarts=restarts)
    assert [one.why for one in worse] == ["no longer sees its uplink ipv6 work"] * said


def test_who_is_not_heard_cannot_object() -> None:
    near = around(PLAN, [ORD], reports(), {LAX, ORD})[ORD]
    assert [peer.id for peer in near.peers] == [LAX]
    assert near.witnesses == (LAX, ORD)


# --- who examines whom ---------------------------------------------------------------------------


def test_witnesses_do_not_change_with_those_that_they_examine() -> None:
    waves = [Wave((ORD, MIA), frozenset(), ""), Wave((LAX,), frozenset(), "")]
    named = witnesses(PLAN, waves, NODES)
    assert named == {ORD: (EWR, LAX, ORD), MIA: (EWR, LAX, MIA), LAX: (EWR, MIA, LAX)}


def test_the_work_is_spread() -> None:
    waves = [Wave((node,), frozenset(), "") for node in NODES]
    assert all(len(by) == EACH + 1 for by in witnesses(PLAN, waves, NODES).values())


def test_who_cannot_examine_is_not_asked() -> None:
    named = witnesses(PLAN, [Wave((ORD,), frozenset(), "")], {MIA})
    assert named == {ORD: (MIA,)}
