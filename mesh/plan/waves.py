"""The order in which nodes take over a generation: a pure function of plan and changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mesh.plan.model import Plan


@dataclass(frozen=True, slots=True)
class Touch:
    """What a generation changes at a node.

    ``changed`` is whether any of its files or its bundle differs. ``restarts`` are the BGP sessions
    that start anew, by BIRD's names; ``sure`` is False where what is in force there is not known,
    and it is assumed that every session does. ``joins``: the node has no generation in force.
    """

    changed: bool
    restarts: frozenset[str] = frozenset()
    joins: bool = False
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Wave:
    """Nodes that apply a generation at the same time, after those of ``drained`` have drained
    themselves; ``why`` they are a wave, for the operator."""

    nodes: tuple[str, ...]
    drained: frozenset[str]
    why: str


def waves(plan: Plan, touches: Mapping[str, Touch], kinds: Mapping[str, str]) -> tuple[Wave, ...]:
    """The waves of a generation. ``touches`` has every node that takes part; ``kinds`` says what a
    node is besides its roles (provider, operating system and BIRD series), equal for nodes of the
    same kind."""
    raise NotImplementedError
