"""A plan as text, which is how it travels through the engine to the resources of our own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pydantic_core import to_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from mesh.plan.model import Plan


def write_plan(plan: Plan, indent: int | None = None) -> str:
    """A plan as JSON: the same plan gives the same text, so that a change is a real one."""
    return to_json(plan, indent=indent).decode()


def read_plan(text: str) -> Plan:
    """The plan of that text; pydantic's ValidationError where it is none."""
    return _reader().validate_json(text)


@cache
def _reader() -> TypeAdapter[Plan]:
    """What reads plans. A preview only writes them, and this costs it more than all of the plan."""
    from pydantic import TypeAdapter

    from mesh.plan.model import Plan

    return TypeAdapter(Plan)
