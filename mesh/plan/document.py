"""A plan as text, as the engine passes it to our own resources."""

from __future__ import annotations

from dataclasses import replace
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
    plan = _reader().validate_json(text)
    return plan if plan.aggregates else _completed(plan)


def _completed(plan: Plan) -> Plan:
    """The plan of an earlier version, which had one prefix of each family and announced it at every
    edge, with its aggregates."""
    from mesh.plan.model import Aggregate

    def edges(family: str) -> tuple[str, ...]:
        return tuple(n.id for n in plan.nodes if any(up.family == family for up in n.upstreams))

    found = (Aggregate(each, edges(f"ipv{each.version}")) for each in plan.prefixes.both())
    return replace(plan, aggregates=tuple(found))


@cache
def _reader() -> TypeAdapter[Plan]:
    """The parser of plans: made only when needed, since a preview only writes them, and this takes
    longer than the plan itself."""
    from pydantic import TypeAdapter

    from mesh.plan.model import Plan

    return TypeAdapter(Plan)
