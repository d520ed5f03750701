"""Paths into configuration values, as `pulumi config set --path` and project files write them."""

from __future__ import annotations

import re
from typing import Any

Path = tuple[str | int, ...]

_STEP = re.compile(
    r"""\["(?P<quoted>(?:\\"|[^"])*)"\] | \[(?P<index>[-+]?[0-9]+)\] | \[(?P<star>\*)\]
      | \.?(?P<bare>[^.\[]+)""",
    re.VERBOSE,
)


class InvalidPath(ValueError):
    """Text that is no path, or a path that does not fit a value."""


def parse(text: str) -> Path:
    """The steps of ``nodes["lax-vultr-1"].number``; InvalidPath where it is none."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None or (not steps and text[at] == "."):
            raise InvalidPath(f"this is no path from its character {at + 1} on")
        if found["index"] is not None:
            steps.append(int(found["index"]))
        elif found["quoted"] is not None:
            steps.append(found["quoted"].replace('\\"', '"'))
        else:
            steps.append(found["star"] or found["bare"])
        at = found.end()
    if not steps or not isinstance(steps[0], str) or not steps[0]:
        raise InvalidPath("a path begins with the name of a key")
    return tuple(steps)


def find(value: Any, path: Path) -> tuple[bool, Any]:
    """Whether there is a value at a path, and the value."""
    for step in path:
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step in range(len(value)):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def put(below: Any, path: Path, value: Any, *, top: bool = True) -> Any:
    """``below`` with ``value`` at a path; missing maps and lists above it are made.

    At the top a value that is neither a map nor a list is replaced, as in the engine.
    """
    if not path:
        return value
    step, rest = path[0], path[1:]
    if below is None or (top and not isinstance(below, dict | list)):
        below = [None] * (step + 1) if isinstance(step, int) and step >= 0 else {}
    if isinstance(below, list):
        if not isinstance(step, int) or not 0 <= step <= len(below):
            raise InvalidPath(f"a list has no entry {step}")
        filled = below if step < len(below) else [*below, None]
        return [
            put(each, rest, value, top=False) if index == step else each
            for index, each in enumerate(filled)
        ]
    if not isinstance(below, dict):
        raise InvalidPath(f"the value before {step} is neither a map nor a list")
    if not isinstance(step, str):
        raise InvalidPath(f"a map has no key {step}")
    return {**below, step: put(below.get(step), rest, value, top=False)}


def coerced(text: str) -> bool | int | str:
    """The value that the engine makes of a text within a map or a list."""
    if text in ("true", "false"):
        return text == "true"
    number = re.fullmatch(r"0|[-+]?[1-9][0-9]*|[-+]0[0-9]*", text)
    if number and -(2**63) <= int(text) < (2**63 if text[0] in "+-" else 2**64):
        return int(text)
    return text
