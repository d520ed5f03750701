"""What happens next, by a seed alone: the same seed and plan give the same steps."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from mesh.plan import Plan
from tests.soak.network import BOUNDS, Active, owed, registries, tunnel

MOST = 3
"""Targets with a fault at the same time."""
DAEMON = frozenset({"kill-daemon", "hang"})
"""One of these at a time: the daemon is there once."""
QUIET = (1.0, 8.0)
"""Seconds for which the network is left as it is after a step."""


@dataclass(frozen=True, slots=True)
class Step:
    """``verb`` on a target, or ``heal`` of it; ``heals`` are the verbs that end by it."""

    verb: str
    target: str
    quiet: float
    heals: frozenset[str] = frozenset()

    @property
    def bound(self) -> float:
        """Seconds for which a client may have no answer."""
        if self.verb == "heal":
            return max(BOUNDS[verb].heal for verb in self.heals)
        return BOUNDS[self.verb].fault

    def after(self, active: Active) -> dict[str, frozenset[str]]:
        """What is active when it is done."""
        kept = {target: verbs for target, verbs in active.items() if target != self.target}
        if self.verb == "heal":
            return kept
        return kept | {self.target: active.get(self.target, frozenset()) | {self.verb}}


@dataclass(frozen=True, slots=True)
class Scope:
    """What may be broken: these nodes and their tunnels, and nothing of ``kept``: what was broken
    before, and stays so."""

    nodes: frozenset[str]
    kept: Active

    def holds(self, target: str) -> bool:
        """Whether a target may be broken and healed."""
        return target not in self.kept and bool(self.nodes & set(target.split(":")))


def draw(random: Random, plan: Plan, active: Active, scope: Scope) -> Step:
    """A fault, or the end of one. Faults that would leave clients without any answer are drawn
    again: of what remains nobody is owed anything."""
    mine = sorted(target for target in active if scope.holds(target))
    if mine and (len(mine) == MOST or random.random() < 0.4):
        target = random.choice(mine)
        return Step("heal", target, _quiet(random), active[target])
    while True:
        verb = random.choice(sorted(BOUNDS))
        step = Step(verb, _target(random, plan, verb), _quiet(random))
        if scope.holds(step.target) and _is_possible(plan, active, step):
            return step


def _quiet(random: Random) -> float:
    return round(random.uniform(*QUIET), 1)


def _target(random: Random, plan: Plan, verb: str) -> str:
    if verb == "registry-down":
        return random.choice(registries(plan))
    if verb == "withdraw":
        return random.choice([node.id for node in plan.nodes if node.upstreams])
    if verb == "tunnel-cut":
        pairs = {tunnel(node.id, link.peer) for node in plan.nodes for link in node.links}
        return random.choice(sorted(pairs))
    return random.choice([node.id for node in plan.nodes])


def _is_possible(plan: Plan, active: Active, step: Step) -> bool:
    already = active.get(step.target, frozenset())
    if step.verb in already or "power-loss" in already:
        return False
    if step.verb in DAEMON and already & DAEMON:
        return False
    after = step.after(active)
    everywhere = [one for one in plan.services if len(one.nodes) == len(plan.nodes)]
    return all(owed(plan, after, service) for service in everywhere)
