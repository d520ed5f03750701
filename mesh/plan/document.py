"""A plan as text, as the engine passes it to our own resources."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pydantic_core import to_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from mesh.plan.model import Plan


def write_plan(plan: Plan, indent: int | None = None) -> str:
    """A plan as JSON; the same plan gives the same text."""
    return to_json(plan, indent=indent).decode()


def read_plan(text: str) -> Plan:
    """The plan of that text; pydantic's ValidationError where it is none."""
    from mesh.plan.aggregates import completed

    return completed(_reader().validate_json(text))


@cache
def _reader() -> TypeAdapter[Plan]:
    """The parser of plans: made only when needed, since a preview only writes them, and this takes
    longer than the plan itself."""
    from pydantic import TypeAdapter

    from mesh.plan.model import Plan

    return TypeAdapter(Plan)
