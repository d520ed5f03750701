"""Problems of a stack file, each with its cure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mesh.foreign import printable


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: the key, its value, the reason and the cure.

    A ``warning`` stops nothing; a ``preview`` problem (a missing secret) is a warning for the
    offline commands and an error for the engine.
    """

    key: str
    value: str
    reason: str
    cure: str
    severity: Literal["error", "warning", "preview"] = "error"

    def __str__(self) -> str:
        return printable(f"{self.key} = {self.value}: {self.reason}; {self.cure}")


NOTE = "note: "
"""Prefix of a note in the engine's output, by which :mod:`mesh.preview` finds it."""


KEEPS = "keeps its server, and cannot be replaced"
"""Text of the warning of a node whose server could not be made again today."""


@dataclass(frozen=True, slots=True)
class Note:
    """Information that a preview shows, for example the cost of the servers."""

    text: str

    def __str__(self) -> str:
        return printable(f"{NOTE}{self.text}")


class SpecError(ValueError):
    """The configuration cannot be used; holds every problem that was found."""

    def __init__(self, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


WORDS = {"None": "null", "True": "true", "False": "false"}
"""Values as they are written in YAML, by their names in Python."""


def shown(value: object, longest: int = 60) -> str:
    """A value as an error shows it: on one line, never a secret, and cut where it is longer than
    ``longest`` characters."""
    if isinstance(value, dict) and "secure" in value:
        return "[secret]"
    text = value if isinstance(value, str) else WORDS.get(repr(value), repr(value))
    text = re.sub(r"://[^/\s]*@", "://[secret]@", " ".join(text.split())) or '""'
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
