"""Protection from deletion: what a preview says of it, and what the gate refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.preview.display import markdown
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, gate
from mesh.preview.kinds import OPERATOR
from mesh.preview.summary import summarise
from tests.kit.previews import ADDRESS, SERVER, STACK, by_plan, generation, preview, step
from tests.kit.stacks import plan_of, prod

PLAN = plan_of(prod())
NAME = "mesh-mia-vultr-1-address"
KEY = "mesh-operator"


def operator(op: str, before: bool, after: bool) -> dict[str, Any]:
    """A step of the operator's key, protected or not."""
    urn = f"{STACK}mesh:index:Mesh${OPERATOR}::{KEY}"
    state = {"urn": urn, "custom": True, "type": OPERATOR, "inputs": {}}
    return {
        "op": op,
        "urn": urn,
        "oldState": None if op == "create" else {**state, "protect": before},
        "newState": {**state, "protect": after},
    }


def address(op: str, before: bool, after: bool, type_: str = ADDRESS) -> dict[str, Any]:
    """A step of Miami's address, protected or not."""
    found = step(op, "mia-vultr-1", type_)
    for key, protect in (("oldState", before), ("newState", after)):
        if found[key] is not None:
            found[key] = {**found[key], "protect": protect}
    return found


ASKED = Asked(remove=frozenset({"mia-vultr-1"}))


@pytest.mark.parametrize(
    ("steps", "said", "refused"),
    [
        pytest.param(
            [operator("same", True, True), address("same", True, True)], {}, False, id="all on"
        ),
        pytest.param(
            [operator("same", True, False), address("same", True, False)],
            {KEY: "unprotected", NAME: "unprotected"}, True, id="it goes away",
        ),
        pytest.param(
            [address("update", True, False)], {NAME: "unprotected"}, True,
            id="it goes away of one, by a change of code",
        ),
        pytest.param(
            [operator("same", False, False), address("same", False, False)],
            {KEY: "not protected", NAME: "not protected"}, True, id="it is off",
        ),
        pytest.param(
            [operator("create", False, False), address("create", False, False)],
            {KEY: "not protected", NAME: "not protected"}, True, id="off from the first day",
        ),
        pytest.param(
            [operator("same", True, True), address("same", False, True)],
            {NAME: "protected"}, False, id="off in the state alone",
        ),
        pytest.param(
            [operator("same", False, False), address("same", False, False, SERVER)],
            {KEY: "not protected"}, True, id="a server never is protected",
        ),
        pytest.param(
            [operator("same", True, True), address("delete", False, False)], {}, False,
            id="a node that leaves, and was released",
        ),
    ],
)  # fmt: skip
def test_what_is_said_and_what_is_refused(
    steps: list[Any], said: dict[str, str], refused: bool
) -> None:
    seen = preview(*steps, generation(PLAN, PLAN, bundle="1"))
    found = summarise(seen)
    assert {change.what: change.fate for change in found.protection} == said
    for name, fate in said.items():
        assert f"| {fate} |" in markdown(found)
        assert name in markdown(found)
    problems = [
        p
        for p in gate(seen, ASKED, Limit(), LiveAnnouncers(by_plan(PLAN)))
        if p.key == "mesh:protect"
    ]
    assert bool(problems) == refused
    assert all("pulumi config rm mesh:protect --stack lab" in p.cure for p in problems)
    assert any("mesh destroy" in note for note in found.notes) == refused


def test_nothing_changes_is_not_said_of_protection_that_goes_away() -> None:
    """To the engine these steps are `same`."""
    shown = markdown(summarise(preview(operator("same", True, False))))
    assert "nothing changes" not in shown
    assert "1 unprotected" in shown
    assert shown.index("Protection from deletion") < len("### preview of lab: 1 unprotected") + 10
