"""A plan as text, which is how it travels through the engine to the resources of our own."""

from __future__ import annotations

from pydantic import TypeAdapter

from mesh.plan import Plan

_PLAN = TypeAdapter(Plan)


def write_plan(plan: Plan) -> str:
    """A plan as JSON: the same plan gives the same text, so that a change is a real one."""
    return _PLAN.dump_json(plan).decode()


def read_plan(text: str) -> Plan:
    """The plan of that text; pydantic's ValidationError where it is none."""
    return _PLAN.validate_json(text)
