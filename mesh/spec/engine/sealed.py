"""A value that is encrypted, and that only the engine can read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sealed:
    """Replaces ``secure: …`` of a stack file; never holds the ciphertext."""

    def __repr__(self) -> str:
        return "[secret]"


def sealed_paths(value: Any, path: str) -> Iterator[str]:
    """The paths of the secrets in a value, as written in messages."""
    if isinstance(value, Sealed):
        yield path
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from sealed_paths(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from sealed_paths(inner, f"{path}[{index}]")
