"""What `mesh status` says while an update goes out in waves, and after one that was interrupted."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from mesh.cli import mesh_table, node_details
from mesh.publish.problems import problems, problems_of
from mesh.publish.status import MeshStatus
from mesh.trust.documents import Report, RolloutOrder
from tests.publish.test_status import (
    EWR,
    FLEET,
    LAX,
    MIA,
    NET4,
    NET6,
    NODES,
    ORD,
    drained,
    gone,
    report,
    seen,
)

NEXT = FLEET.generation(8)
OUT: dict[str, Any] = {
    "in_service": False,
    "services": {"web": False},
    "announced": {"vultr4": (), "vultr6": ()},
}
ON_NEXT = {"generation": 8, "applied": 8, "manifest_sha256": NEXT.digest}


def waiting(node: str, age: float = 1.0) -> Report:
    return report(node, age, update="waiting", rollout=4)


def draining(node: str) -> Report:
    """In its own drain: it has withdrawn, and no order says so."""
    return report(node, update="draining", rollout=4, **OUT)


def applying(node: str) -> Report:
    sessions = FLEET.well(node).sessions | {"vultr4": "Connect", "vultr6": "Connect"}
    return report(node, update="applying", rollout=4, **(OUT | {"sessions": sessions}))


def updated(node: str) -> Report:
    return report(node, of=ON_NEXT, update="", rollout=4)


def during(*said: Report, **changed: Any) -> MeshStatus:
    """The status of a network whose registries hold generation 8."""
    order = RolloutOrder("mesh-27218", 4, 8, NEXT.digest)
    return seen(*said, held=NEXT.manifest, rollout=order, **changed)


def shown(found: MeshStatus, node: str | None = None) -> str:
    """What a person sees of the mesh, or of one node."""
    console = Console(width=200, no_color=True)
    parts = (
        mesh_table.parts(found, problems(found))
        if node is None
        else node_details.parts(node, found, problems_of(node, found))
    )
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return captured.get()


STANDS = (
    "generation 8 is in force on 2 of 4 nodes; unless `pulumi up` still runs, the update was "
    "interrupted: run `pulumi up`"
)
INTERRUPTED = during(updated(ORD), updated(MIA), waiting(EWR), waiting(LAX))
DRAINS = during(updated(ORD), draining(MIA), waiting(EWR), waiting(LAX))


def test_an_update_that_stands_still_is_one_problem_with_its_cure() -> None:
    assert problems(INTERRUPTED) == (STANDS,)
    assert {node: one.state for node, one in INTERRUPTED.nodes.items()} == {
        EWR: "waiting", LAX: "waiting", MIA: "applied", ORD: "applied",
    }  # fmt: skip


def test_a_waiting_node_says_so_and_an_updated_one_is_well() -> None:
    assert problems_of(LAX, INTERRUPTED) == (STANDS,)
    assert problems_of(ORD, INTERRUPTED) == ()
    assert f"{LAX}: waiting, waits for its wave" in shown(INTERRUPTED, LAX)


@pytest.mark.parametrize(("step", "words"), [
    (draining, "drains for an update, and comes back by itself"),
    (applying, "applies an update"),
], ids=["drains", "applies"])  # fmt: skip
def test_a_node_that_takes_it_over_is_shown_so_and_lacks_nothing(step: Any, words: str) -> None:
    found = during(updated(ORD), step(MIA), waiting(EWR), waiting(LAX))
    assert problems(found) == (f"generation 8 is in force on 1 of 4 nodes; it goes out now: {MIA}",)
    assert (found.nodes[MIA].state, found.nodes[MIA].drain) == ("updating", "")
    assert found.drained == ()
    assert f"{MIA}: {words}" in shown(found)
    assert f"{MIA}: updating, {words}" in shown(found, MIA)
    assert "drained" not in shown(found, MIA)


def test_a_generation_that_still_goes_out_is_not_said_to_be_unknown_to_the_state() -> None:
    last = during(updated(ORD), updated(MIA), updated(EWR), draining(LAX))
    assert last.unrecorded == 8
    assert problems(last) == (f"generation 8 is in force on 3 of 4 nodes; it goes out now: {LAX}",)


def test_what_it_does_not_announce_and_serve_meanwhile_counts_for_no_lack() -> None:
    for prefix in (NET4, NET6):
        one = DRAINS.prefixes[prefix]
        assert (one.not_announcing, one.unknown) == ((), ())
        assert MIA not in one.announcers
    assert not any(MIA in nodes for nodes in DRAINS.services["web"].not_by.values())
    assert "updating" in next(line for line in shown(DRAINS).splitlines() if MIA in line)


def test_the_operators_drain_stays_the_operators_during_an_update() -> None:
    """The node is drained by order, and takes the update over."""
    both = report(MIA, drained=True, drain=3, update="draining", rollout=4, **OUT)
    found = during(updated(ORD), both, waiting(EWR), waiting(LAX), drain=drained(MIA))
    assert found.nodes[MIA].drain == "drained"
    assert found.drained == (MIA,)
    after = during(*(updated(node) for node in NODES if node != MIA), gone(MIA))
    assert after.nodes[MIA].drain == "drained"


def test_a_silent_node_is_not_said_to_wait() -> None:
    found = during(updated(ORD), updated(MIA), updated(EWR), waiting(LAX, age=3600))
    assert found.nodes[LAX].state == "silent"
    assert not any("is in force on" in problem for problem in problems(found))


def test_the_orders_of_a_node_have_the_rollout_s_number() -> None:
    assert "rollout 4" in shown(INTERRUPTED, ORD)
    late = during(report(LAX, update="waiting", rollout=3))
    assert "rollout 3 (in force is 4)" in shown(late, LAX)


def test_a_node_without_waves_that_is_behind_is_still_behind() -> None:
    found = during(updated(ORD), updated(MIA), updated(EWR))
    assert found.nodes[LAX].state == "behind"
    assert f"{LAX}: on generation 7, not on 8 yet" in problems(found)
