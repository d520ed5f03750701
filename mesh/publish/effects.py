"""Whether a node is as well after a change as it was just before: by its report, by its peers'."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mesh.plan import Node, Plan
from mesh.trust.documents import Report


@dataclass(frozen=True, slots=True)
class Objection:
    """``who`` says that something is worse at ``node`` than before, and ``why``."""

    node: str
    who: str
    why: str


def objections(
    plan: Plan,
    node: Node,
    before: Mapping[str, Report],
    after: Mapping[str, Report],
    members: Collection[str],
) -> tuple[Objection, ...]:
    """What is worse at a node that has applied a generation of this plan than it was ``before``, by
    the last reports of all nodes; empty if nothing is."""
    raise NotImplementedError
