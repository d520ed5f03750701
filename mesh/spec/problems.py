"""What is wrong with a stack file, said so that it can be mended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mesh.foreign import printable


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the key, its value, the reason and the cure.

    A ``warning`` does not stop anything; a ``preview`` problem (a missing secret) is a warning
    for the offline commands and an error for the engine.
    """

    key: str
    value: str
    reason: str
    cure: str
    severity: Literal["error", "warning", "preview"] = "error"

    def __str__(self) -> str:
        return printable(f"{self.key} = {self.value}: {self.reason}; {self.cure}")


NOTE = "note: "
"""How a note begins in the engine's output, so that :mod:`mesh.preview` finds it there."""


KEEPS = "keeps its server, and cannot be replaced"
"""What a warning says of a node whose server could not be made again today."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a preview tells and that nothing is wrong with: what the servers cost."""

    text: str

    def __str__(self) -> str:
        return printable(f"{NOTE}{self.text}")


class SpecError(ValueError):
    """The configuration cannot be used; holds every problem that was found, not just the first."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown(value: object) -> str:
    """A value as an error shows it: short, on one line, never a secret."""
    if isinstance(value, dict) and "secure" in value:
        return "[secret]"
    text = value if isinstance(value, str) else repr(value)
    text = re.sub(r"://[^/\s]*@", "://[secret]@", " ".join(text.split())) or '""'
    return text if len(text) <= 60 else text[:57] + "..."
