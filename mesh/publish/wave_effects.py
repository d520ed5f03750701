"""Whether the nodes of one wave are as well as before, over the time that it takes to show."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mesh.plan import Node, Plan
from mesh.publish.effects import Around, Objection, around, objections
from mesh.trust.documents import Report

SETTLES = 10.0
"""Seconds from the application until sessions, announcements and services are as before. The node
itself has waited for its sessions by then."""
HOLDS = 5.0
"""Seconds for which a node whose sessions started anew has to stay well."""
ROUNDS = 3
"""Examinations by a witness: the first may have begun before the change, and what the one before
has seen still counts (:data:`mesh.agent.witness.asking.LOOKBACK`)."""
UNHEARD = 3.0
"""Seconds after which a witness that reports no further examination is not waited for: its own
agent may start anew."""


@dataclass
class _Applied:
    """A node that has applied the generation: since when, how many rounds its witnesses had made
    by then, and since when nothing is worse (None while something is)."""

    since: float
    rounds: dict[str, int]
    well_since: float | None = None
    objections: tuple[Objection, ...] = ()


@dataclass
class WaveEffects:
    """The nodes of a wave, relative to the reports of just ``before``. ``restarting`` are those
    whose sessions start anew, ``heard`` the nodes whose reports count.

    Of the nodes that are ``joining``, nobody else is asked: what others saw before was the server
    that a new one replaces, and their tunnels learn its key only in later waves.
    """

    plan: Plan
    nodes: Collection[str]
    restarting: Collection[str]
    before: Mapping[str, Report]
    heard: Collection[str]
    bundle: str
    joining: Collection[str] = ()
    _applied: dict[str, _Applied] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._planned = {node.id: node for node in self.plan.nodes if node.id in self.nodes}
        known = self._planned.keys() - set(self.joining)
        self._around: Mapping[str, Around] = {
            **dict.fromkeys(self.joining, Around((), ())),
            **around(self.plan, known, self.before, self.heard),
        }

    def look(self, reports: Mapping[str, Report], applied: Iterable[str]) -> None:
        """Compares the last reports; ``applied`` are the nodes that have the generation in
        force."""
        now = time.monotonic()
        for node in applied:
            if node not in self._applied:
                self._applied[node] = _Applied(now, self._rounds(node, reports))
            self._judge(self._planned[node], self._applied[node], reports, now)

    def _judge(self, node: Node, one: _Applied, reports: Mapping[str, Report], now: float) -> None:
        near = self._around[node.id]
        restarts = node.id in self.restarting
        found = objections(
            self.plan, node, near, self.before, reports, time.time(), self.nodes, restarts
        )
        running = reports[node.id].bundle
        if running != self.bundle:
            why = f"runs bundle {running[:12]}, not {self.bundle[:12]}"
            found = (Objection(node.id, node.id, why), *found)
        one.objections = found
        if found:
            one.well_since = None
        elif one.well_since is None:
            one.well_since = now
        seen = self._rounds(node.id, reports)
        # An agent that starts anew begins to count again.
        one.rounds = {who: min(at, seen.get(who, at)) for who, at in one.rounds.items()}

    def _rounds(self, node: str, reports: Mapping[str, Report]) -> dict[str, int]:
        """The examinations of a node so far, by the witnesses that had examined it before."""
        return {
            who: reports[who].health.witnessed[node].rounds
            for who in self._around[node].witnesses
            if who in reports and node in reports[who].health.witnessed
        }

    def pending(self, reports: Mapping[str, Report]) -> dict[str, str]:
        """The nodes that have applied the generation and for which something is waited for, each
        with what it is."""
        found = {node: self._pending(node, reports) for node in sorted(self._applied)}
        return {node: what for node, what in found.items() if what}

    def _pending(self, node: str, reports: Mapping[str, Report]) -> str:
        one, now = self._applied[node], time.monotonic()
        if one.objections:
            return "; ".join(map(text, one.objections))
        seen = self._rounds(node, reports)
        late = any(seen.get(who, at) < at + ROUNDS for who, at in one.rounds.items())
        if late and now - one.since < UNHEARD:
            return "examined by its witnesses"
        if node in self.restarting and now - (one.well_since or now) < HOLDS:
            return f"its sessions have to stay up for {HOLDS:g} s"
        return ""

    def unsteady(self, reports: Mapping[str, Report]) -> tuple[str, ...]:
        """The nodes that have had their time and do not stay well for long enough."""
        now = time.monotonic()
        return tuple(
            node
            for node, one in sorted(self._applied.items())
            if now - one.since >= settles(self.plan, node) + 2 * HOLDS
            and self._pending(node, reports)
        )

    def worse(self) -> dict[str, tuple[Objection, ...]]:
        """The nodes that have had their time and are not as well as before."""
        now = time.monotonic()
        return {
            node: one.objections
            for node, one in sorted(self._applied.items())
            if one.objections and now - one.since >= settles(self.plan, node)
        }


def text(objection: Objection) -> str:
    """An objection as text."""
    if objection.who == objection.node:
        return objection.why
    return f"{objection.who} says: {objection.why}"


def settles(plan: Plan, node: str) -> float:
    """Seconds until a node shows the effects of a change: its services may be checked slowly."""
    checks = [check for each in plan.services if node in each.nodes for check in each.checks]
    return SETTLES + max(
        (check.rise * check.interval + (check.timeout or 0.0) for check in checks), default=0.0
    )
