"""How a preview says that an update will go out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mesh.plan import Plan
from mesh.preview.display import markdown, terminal
from mesh.preview.forecast import Forecast
from mesh.preview.summary import summarise
from tests.kit.previews import generation, preview, step
from tests.kit.stacks import bent, equal_nodes, plan_of, prod

PLAN = plan_of(prod())
EWR, LAX, MIA, ORD = "ewr-vultr-1", "lax-vultr-1", "mia-vultr-1", "ord-vultr-1"
FULL = plan_of(prod() | {"routing": {"import": "full"}})
ALONE = plan_of(bent("nodes", {LAX: {"number": 1}}))
SIXTEEN = plan_of(equal_nodes(16))


def served_by(*nodes: str) -> Plan:
    """The network with its service at these nodes alone."""
    return plan_of(bent("services/web/nodes", list(nodes)))


def forecast(before: Plan | None, after: Plan, *steps: Any) -> Forecast | None:
    return summarise(preview(*steps, generation(before, after, bundle="1"))).forecast


CASES: dict[str, tuple[Plan | None, Plan, list[Any], Forecast]] = {
    "the first generation": (None, PLAN, [], Forecast(0, 4)),
    "without waves": (PLAN, replace(PLAN, waves=False), [], Forecast(0, 4)),
    "nothing restarts": (PLAN, PLAN, [], Forecast(4, 1)),
    "all sessions restart": (PLAN, FULL, [], Forecast(4, 1, (EWR, MIA, ORD, LAX))),
    "a server is new": (PLAN, PLAN, [step("replace", MIA)], Forecast(4, 1)),
    "the only announcer": (
        ALONE, plan_of(bent("nodes", {LAX: {"number": 1, "import": "full"}})), [], Forecast(1, 1),
    ),
    "a service moves": (served_by(EWR, LAX), served_by(MIA, ORD), [], Forecast(4, 1, twice=True)),
    "sixteen nodes": (SIXTEEN, SIXTEEN, [], Forecast(6, 5)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_preview_knows_how_many_waves_there_will_be(case: str) -> None:
    before, after, steps, expected = CASES[case]
    assert forecast(before, after, *steps) == expected


def test_where_plans_cannot_be_compared_nothing_is_forecast() -> None:
    found = summarise(preview(generation("{}", PLAN)))
    assert found.generation == "next"
    assert found.forecast is None
    assert "| next | to every node |" in markdown(found)


def test_nothing_is_forecast_where_nothing_is_published() -> None:
    assert summarise(preview(step("update", MIA))).forecast is None


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (PLAN, "to every node in 4 waves, one node at a time (forecast)"),
        (
            FULL,
            "to every node in 4 waves, one node at a time; "
            "ewr-vultr-1, mia-vultr-1, ord-vultr-1, lax-vultr-1 drain first (forecast)",
        ),
        (replace(PLAN, waves=False), "to every node at once"),
    ],
    ids=["waves", "drained", "at once"],
)
def test_the_generation_s_line_says_how_it_goes_out(after: Plan, expected: str) -> None:
    found = summarise(preview(generation(PLAN, after, bundle="1")))
    assert f"| next | {expected} |" in markdown(found)
    assert terminal(found)


def test_waves_of_several_nodes_say_of_how_many() -> None:
    found = summarise(preview(generation(SIXTEEN, SIXTEEN, bundle="1")))
    assert "in 6 waves, at most 5 at a time (forecast)" in markdown(found)


def test_a_change_with_two_ends_goes_out_in_two_stages() -> None:
    moved = generation(served_by(EWR, LAX), served_by(MIA, ORD), bundle="1")
    found = summarise(preview(moved))
    assert "to every node in two stages, each in 4 waves, one node at a time" in markdown(found)


def test_what_waves_cannot_keep_working_is_a_note() -> None:
    after = plan_of(bent("nodes/mia-vultr-1/number", 9))
    notes = summarise(preview(generation(PLAN, after, bundle="1"))).notes
    assert (
        "mesh:nodes.mia-vultr-1.number changes from 3 to 9: nodes that have it and those that do "
        "not have no tunnel" in notes
    )
    off = summarise(preview(generation(PLAN, replace(after, waves=False), bundle="1"))).notes
    assert len(off) < len(notes)
