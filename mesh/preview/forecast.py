"""How a generation will go out, by the plan alone: what nodes have already is asked by the update.

That may leave nodes out, and find that fewer sessions start anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mesh.plan import Plan
from mesh.plan.transition import expanded
from mesh.plan.waves import Touch, waves
from mesh.preview.sessions import SessionChange


@dataclass(frozen=True, slots=True)
class Forecast:
    """So many ``waves`` of at most ``most`` nodes, those of ``drained`` drained first; 0 waves
    where all nodes take the generation over at the same moment. ``twice``: a change has two ends,
    so that a generation that works with both goes out before."""

    waves: int
    most: int
    drained: tuple[str, ...] = ()
    twice: bool = False


def forecast(
    before: Plan | None, plan: Plan, standing: Collection[str], changes: Iterable[SessionChange]
) -> Forecast:
    """The forecast for a plan, with that of ``before`` in force. ``standing`` are the nodes that
    have a generation in force and keep their servers, ``changes`` what becomes of the sessions."""
    taking = [node for node in plan.nodes if node.id not in plan.without]
    if not plan.waves or not standing:
        return Forecast(0, len(taking))
    restarts = _restarts(changes)
    touches = {
        node.id: Touch(True, restarts.get(node.id, frozenset()), joins=node.id not in standing)
        for node in taking
    }
    found = waves(plan, touches, {node.id: node.provider for node in taking})
    return Forecast(
        waves=len(found),
        most=max((len(wave.nodes) for wave in found), default=0),
        drained=tuple(node for wave in found for node in sorted(wave.drained)),
        twice=before is not None and expanded(before, plan) is not None,
    )


def _restarts(changes: Iterable[SessionChange]) -> Mapping[str, frozenset[str]]:
    """The sessions that start anew, by node."""
    found: dict[str, set[str]] = {}
    for change in changes:
        session = change.session
        if change.fate == "restarted":
            for node in session.nodes:
                upstream = session.kind == "upstream"
                found.setdefault(node, set()).add(session.peer if upstream else str(session))
    return {node: frozenset(names) for node, names in found.items()}
