"""pydantic's errors in terms of the stack file: without classes and unions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

OF_THE_PARSER = ("function-", "IPv4N", "IPv6N", "(")
"""Prefixes of steps in an error's path that are not in the stack file."""

OF_A_SECTION = {
    "dataclass_type": "model_type",
    "model_attributes_type": "model_type",
    "unexpected_keyword_argument": "extra_forbidden",
}
"""Types of errors of dataclasses, and those of sections that mean the same."""

Item = Mapping[str, Any]
"""An error as pydantic lists it."""


def errors(error: ValidationError) -> Iterator[tuple[tuple[str, ...], Item]]:
    """Each error with the path of its key."""
    for item in error.errors(include_url=False):
        path = _path(item["loc"])
        kind = item["type"]
        if kind == "union_tag_not_found":
            yield (*path, "kind"), {**item, "type": "missing"}
        elif kind == "union_tag_invalid":
            *first, last = item["ctx"]["expected_tags"].split(", ")
            expected = f"{', '.join(first)} or {last}" if first else last
            wrong = {"type": "literal_error", "input": item["input"]["kind"]}
            yield (*path, "kind"), {**item, **wrong, "ctx": {"expected": expected}}
        else:
            yield path, {**item, "type": OF_A_SECTION.get(kind, kind)}


def _path(steps: tuple[int | str, ...]) -> tuple[str, ...]:
    """The keys and list indices of a path, without a check's kind, by which pydantic has chosen its
    class."""
    kept = [
        str(step)
        for place, step in enumerate(steps)
        if not (place > 1 and steps[place - 2] == "checks" and isinstance(steps[place - 1], int))
    ]
    return tuple(s for s in kept if s != "[key]" and not s.startswith(OF_THE_PARSER))
