"""Names of stacks, as the engine takes them: ``stack``, ``org/stack`` or ``org/project/stack``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mesh.spec.problems import Problem, SpecError, shown

NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""A stack's own name (sdk/go/common/tokens/stack_name.go)."""
CURE = (
    "a name has at most 100 letters, digits, hyphens, underscores and periods: "
    "write prod, acme/prod or acme/anycast-mesh/prod"
)
SUFFIXES = (".json", ".yaml", ".yml")
"""Of stack files and project files, in the engine's order (sdk/go/common/encoding)."""


@dataclass(frozen=True, slots=True)
class StackName:
    """A stack's name and, where they are given, its project and organization. The program gets
    ``name``, and the stack file is named after it."""

    name: str
    project: str | None = None
    organization: str | None = None

    def __str__(self) -> str:
        parts = (self.organization, self.project, self.name)
        return "/".join(part for part in parts if part is not None)


def is_name(text: object) -> bool:
    """Whether this is a valid stack name."""
    return isinstance(text, str) and NAME.fullmatch(text) is not None


def stack_name(text: str, key: str = "--stack") -> StackName:
    """The stack that a text names; SpecError where it is no valid name."""
    parts = text.split("/")
    if len(parts) > 3 or not all(map(is_name, parts)):
        meant = meant_by_file(parts[-1])
        cure = CURE if meant is None else f"give the stack's name: {key} {meant}"
        raise SpecError([Problem(key, shown(text), "this is no valid stack name", cure)])
    organization = parts[0] if len(parts) > 1 else None
    return StackName(parts[-1], parts[1] if len(parts) > 2 else None, organization)


def meant_by_file(text: str) -> str | None:
    """The stack that is meant by the name of its file; None where the text is no such name."""
    suffix = next((each for each in SUFFIXES if text.endswith(each)), "")
    name = text.removeprefix("Pulumi.").removesuffix(suffix)
    return name if name != text and is_name(name) else None


def stack_of(path: Path) -> str:
    """The name of the stack that a stack file is of."""
    return path.name.removeprefix("Pulumi.").removesuffix(path.suffix)
