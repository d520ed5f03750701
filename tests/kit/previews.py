"""Previews in the engine's form (tests/cli/test_changes.py compares it with the real one's)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mesh.plan import Plan
from mesh.plan.document import write_plan
from mesh.preview.kinds import PROTECTED
from mesh.preview.steps import Preview, read
from mesh.publish.announcers import Announcers

STACK = "urn:pulumi:lab::anycast-mesh::"
NODE = "mesh:index:Mesh$mesh:index:Region$mesh:index:Node"
SERVER = "pulumi-python:dynamic/lab:Instance"
ADDRESS = "pulumi-python:dynamic/lab:Address"
VULTR_SERVER = "pulumi-python:dynamic/vultr:Instance"
PUBLISH = "pulumi-python:dynamic/mesh:Publish"


def step(
    op: str,
    node: str,
    type_: str = SERVER,
    reasons: tuple[str, ...] = (),
    inputs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A step of what a node has."""
    name = f"mesh-{node}-{'address' if 'ddress' in type_ or 'Eip' in type_ else 'instance'}"
    urn = f"{STACK}{NODE}${type_}::{name}"
    parent = f"{STACK}{NODE}::mesh-{node}"
    state = {"urn": urn, "custom": True, "type": type_, "parent": parent, "inputs": inputs or {}}
    if type_ in PROTECTED:
        state["protect"] = True
    return {
        "op": op,
        "urn": urn,
        "oldState": None if op == "create" else state,
        "newState": None if op == "delete" else state,
        "replaceReasons": list(reasons),
        "detailedDiff": None,
    }


RENDERED: dict[str, Any] = {"generation": 7, "held": True, "rendered": {}}


def generation(
    before: Plan | str | None,
    after: Plan | str,
    outputs: Mapping[str, Any] = RENDERED,
    old: Mapping[str, Any] = MappingProxyType({}),
    **more: Any,
) -> dict[str, Any]:
    """The step of the publication; ``more`` are new values of its other inputs, ``old`` and
    ``outputs`` what the state holds of the last one."""
    urn = f"{STACK}mesh:index:Mesh${PUBLISH}::mesh-generation"

    def state(plan: Plan | str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        text = plan if isinstance(plan, str) else write_plan(plan)
        known = {"plan": text, "passwords": "[secret]", "bundle": "0", **inputs}
        return {"urn": urn, "custom": True, "type": PUBLISH, "inputs": known, "outputs": outputs}

    return {
        "op": "create" if before is None else "update",
        "urn": urn,
        "oldState": None if before is None else state(before, old),
        "newState": state(after, more),
        "detailedDiff": None,
    }


def by_plan(plan: Plan, *silent: str) -> Announcers:
    """Everybody announces in effect that is to by the plan, but for these nodes."""
    return {each.prefix: frozenset(each.nodes) - set(silent) for each in plan.aggregates}


def preview(*steps: Mapping[str, Any], errors: tuple[str, ...] = ()) -> Preview:
    """The preview of these steps, read as the engine would print it."""
    return read(text(*steps, errors=errors))


def text(*steps: Mapping[str, Any], errors: tuple[str, ...] = ()) -> str:
    """What the engine would print."""
    said = [{"message": f"error: {error}\n", "severity": "error"} for error in errors]
    return json.dumps({"config": {}, "steps": steps, "diagnostics": said, "changeSummary": {}})
