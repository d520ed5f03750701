"""After a rollout has stopped: what was in force before comes back as a new generation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from mesh.plan.waves import Wave
from mesh.publish.generation import SignedGeneration, restored
from mesh.publish.order import Order
from mesh.publish.outcomes import latest_on
from mesh.publish.progress import ProgressLines
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.rollout import POLL, RELEASE_SECONDS, Failure, Rollout, RolloutStopped
from mesh.publish.schedule import Schedule
from mesh.registry.client import Unreachable


class GoingBack:
    """The way back from one generation; ``rollout`` makes the rollout of another one."""

    def __init__(
        self,
        order: Order,
        pool: RegistryPool,
        made: SignedGeneration,
        schedule: Schedule,
        rollout: Callable[[SignedGeneration], Rollout],
        progress: ProgressLines,
    ) -> None:
        self._order, self._pool, self._made, self._schedule = order, pool, made, schedule
        self._rollout, self._progress = rollout, progress

    def run(self, stopped: RolloutStopped) -> str:
        """Brings the former content back to the nodes that a rollout has reached, and returns what
        has become of it, with what an operator can do."""
        number, former = self._made.manifest.generation, self._schedule.former
        failing = {one.node for one in stopped.failures}
        if former is None:
            others = ", ".join(sorted(stopped.reached - failing)) or "no node"
            return (
                f"no registry has what was in force before, so {others} keeps generation {number}; "
                f"publish the stack file of before, or a corrected one (pulumi up)"
            )
        self._progress(
            f"the rollout of generation {number} has stopped: the content of generation "
            f"{former.manifest.generation} comes back"
        )
        try:
            again, failures = self._bring_back(stopped, failing)
        except Unreachable as error:
            return f"it could not be taken back: {error}; run `pulumi up` again"
        back = f"the content of generation {former.manifest.generation} is in force again as "
        back += f"generation {again.manifest.generation}"
        if failures:
            names = ", ".join(sorted({one.node for one in failures}))
            back += f", but not at {names}: {'; '.join(one.why for one in failures)}"
        return f"{back}{_cure(stopped.failures)}"

    def _bring_back(
        self, stopped: RolloutStopped, failing: Collection[str]
    ) -> tuple[SignedGeneration, list[Failure]]:
        again = self._put()
        told = self._told()
        awaited = sorted(set(failing) & told)
        waves = [Wave(tuple(awaited), frozenset(), "back at once")] if awaited else []
        waves += _reduced(self._schedule.waves, (stopped.reached & told) - set(failing))
        failures = self._rollout(again).go_back(
            waves, self._schedule.touches, self._schedule.before, set(failing) - told
        )
        return again, failures

    def _put(self) -> SignedGeneration:
        """Signs the former content and sends it to the registries, of which one may start anew."""
        former, clock = self._schedule.former, Deadline(RELEASE_SECONDS)
        assert former is not None
        while True:
            try:
                again = restored(
                    self._order, former.packed, former.manifest, self._number(), self._made
                )
                for failure in self._pool.put_generation(again.generation):
                    self._progress(f"not stored at {failure}")
            except Unreachable:
                if clock.over:
                    raise
                time.sleep(POLL)
            else:
                return again

    def _number(self) -> int:
        highest = self._pool.highest()
        held = 0 if highest is None else highest[1].generation
        return max(held, self._made.manifest.generation) + 1

    def _told(self) -> set[str]:
        """The nodes that have reported on the generation: they are there, and are waited for."""
        identities = {n: entry.identity for n, entry in self._made.manifest.nodes.items()}
        reports = self._pool.reports(identities)
        told = latest_on(reports, self._made.manifest, self._made.digest)
        return set(told) - self._order.unheard


def _reduced(waves: Iterable[Wave], nodes: Collection[str]) -> list[Wave]:
    """These nodes in the waves in which they came."""
    found = [
        replace(
            wave,
            nodes=tuple(node for node in wave.nodes if node in nodes),
            drained=wave.drained & set(nodes),
            why="back",
        )
        for wave in waves
    ]
    return [wave for wave in found if wave.nodes]


def _cure(failures: Iterable[Failure]) -> str:
    """How to go on where only other nodes object."""
    who = sorted({name for one in failures for name in one.objectors})
    if not who or not all(one.objectors for one in failures):
        return ""
    names = " ".join(f"--without {node}" for node in who)
    return f"; if {', '.join(who)} is not to be believed: mesh rollout {names}"
