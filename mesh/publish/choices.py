"""What an operator asks of one rollout, by the environment of the engine that runs it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "MESH_ROLLOUT"
"""Words apart by commas: ``now``, ``accept-outage``, ``without=NODE``."""
_WITHOUT = re.compile(r"without=([a-z0-9][a-z0-9-]{0,31})")


@dataclass(frozen=True, slots=True)
class Choices:
    """``now``: no waves. ``accept_outage``: the only announcer of a prefix may restart its
    sessions. ``without``: nodes that are not waited for, and whose objections do not count."""

    now: bool = False
    accept_outage: bool = False
    without: frozenset[str] = frozenset()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Choices:
        """The choices in an environment; ValueError for a word that is none."""
        words = [word for word in environment.get(VARIABLE, "").split(",") if word]
        nodes: set[str] = set()
        for word in words:
            if match := _WITHOUT.fullmatch(word):
                nodes.add(match[1])
            elif word not in ("now", "accept-outage"):
                raise ValueError(f"{VARIABLE}: {word!r} is none of its words")
        return cls("now" in words, "accept-outage" in words, frozenset(nodes))

    def variable(self) -> str:
        """The same as the variable's value."""
        own = ["now"] * self.now + ["accept-outage"] * self.accept_outage
        return ",".join([*own, *(f"without={node}" for node in sorted(self.without))])
