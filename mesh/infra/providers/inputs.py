"""The inputs of a resource as the engine passes them, and how rules of firewalls are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Inputs = Mapping[str, Any]

UNKNOWN = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)
"""A value that is not known yet: string, boolean, number, list, map (pulumi_policy.proxy)."""

ALL = (0, 65535)
"""All ports."""
TCP, EVERY = frozenset({"tcp", "6"}), frozenset({"-1", "all"})
"""Protocols as providers name them."""


def is_unknown(value: object) -> bool:
    """Whether a value is not known yet."""
    return isinstance(value, str) and value in UNKNOWN


def known(inputs: Inputs, key: str) -> Any:
    """An input; None where it is not given or not known yet."""
    value = inputs.get(key)
    return None if is_unknown(value) else value


def strings(value: Any) -> Iterator[str]:
    """The texts of a list that may be missing or unknown."""
    if isinstance(value, list | tuple):
        yield from (each for each in value if isinstance(each, str) and not is_unknown(each))


def given(*keys: str) -> Callable[[Inputs], bool]:
    """Whether inputs have a value for one of these keys."""
    return lambda inputs: any(bool(inputs.get(key)) for key in keys)


def is_one_of(protocol: Any, names: frozenset[str]) -> bool:
    """Whether a protocol is one of these; providers take any case, and IANA's numbers."""
    return str(protocol).lower() in names


def port_range(text: Any, sign: str) -> tuple[int, int]:
    """The ports that a text names, with this sign between the first and the last; all of them where
    it names none."""
    first, _, last = str(text).partition(sign)
    if not first.strip().isdigit():
        return ALL
    return (int(first), int(last) if last.strip().isdigit() else int(first))
