"""After a rollout has stopped: what was in force before comes back as a new generation."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from mesh.plan.waves import Wave
from mesh.publish.generation import SignedGeneration, restored
from mesh.publish.held import HeldGeneration
from mesh.publish.order import Order
from mesh.publish.outcomes import latest_on
from mesh.publish.progress import ProgressLines
from mesh.publish.registry_pool import Deadline, RegistryPool
from mesh.publish.rollout import POLL, Failure, Overtaken, Rollout, RolloutStopped, release_seconds
from mesh.publish.schedule import Schedule
from mesh.registry.client import Unreachable
from mesh.trust.documents import Report


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
        told = self._told()
        having = {node for node, report in told.items() if report.outcome == "applied"}
        try:
            if not having:
                self._keep_back()
                return f"what was in force before stays so everywhere{_cure(stopped.failures)}"
            if former is None:
                self._keep_back()
                return (
                    f"no registry has what was in force before, so {', '.join(sorted(having))} "
                    f"keep generation {number}; publish the stack file of before, or a corrected "
                    f"one (pulumi up){_cure(stopped.failures)}"
                )
            if former.manifest.generation == number:
                # It has stopped at a node that came back later than the others had it.
                self._keep_back()
                return f"the other nodes keep generation {number}{_cure(stopped.failures)}"
            self._progress(
                f"the rollout of generation {number} has stopped: the content of generation "
                f"{former.manifest.generation} comes back"
            )
            # In no wave: what comes back would be new to them.
            keeping = self._schedule.apart - having
            again, failures = self._bring_back(
                former, failing - keeping, having, set(told), keeping
            )
        except Unreachable as error:
            return f"it could not be taken back: {error}; run `pulumi up` again"
        except Overtaken:
            return "another update has published a higher generation meanwhile"
        back = f"the content of generation {former.manifest.generation} is in force again as "
        back += f"generation {again.manifest.generation}"
        if failures:
            names = ", ".join(sorted({one.node for one in failures}))
            back += f", but not at {names}: {'; '.join(one.why for one in failures)}"
        if keeping:
            back += (
                f"; {', '.join(sorted(keeping))} did not have that before, and keeps what it has"
            )
        return f"{back}{_cure(stopped.failures)}"

    def _keep_back(self) -> None:
        """Releases nobody any more. A node that has rolled back tries again when its agent starts
        anew, one that is held when its hold ends, and a silent one when it hears of it."""
        self._rollout(self._made).keep_back()

    def _bring_back(
        self,
        former: HeldGeneration,
        failing: Collection[str],
        having: Collection[str],
        told: Collection[str],
        keeping: Collection[str],
    ) -> tuple[SignedGeneration, list[Failure]]:
        """First to the nodes that are not well, then to the others in the waves in which they came.
        Nodes that say nothing are not waited for."""
        again = self._put(former)
        first = tuple(sorted(set(failing) & set(told)))
        waves = [Wave(first, frozenset(), "back at once")] if first else []
        waves += _reduced(self._schedule.waves, set(having) - set(failing))
        failures = self._rollout(again).go_back(
            waves,
            self._schedule.touches,
            self._schedule.before,
            set(failing) - set(told),
            keeping,
        )
        return again, failures

    def _put(self, former: HeldGeneration) -> SignedGeneration:
        """Signs the former content and sends it to the registries, of which one may start anew."""
        clock = Deadline(release_seconds(self._order))
        while True:
            try:
                again = restored(
                    self._order,
                    former.packed,
                    former.manifest,
                    self._number(),
                    self._made,
                    self._bundle(former),
                )
                for failure in self._pool.put_generation(again.generation):
                    self._progress(f"not stored at {failure}")
            except Unreachable:
                if clock.over:
                    raise
                time.sleep(POLL)
            else:
                return again

    def _bundle(self, former: HeldGeneration) -> str:
        """The bundle of before, but not one of a version without rollouts: its agent cannot open
        what is sealed for an earlier generation, nor read the configuration that it would be left
        with, and a node whose agent has none withdraws."""
        before = former.manifest.bundle
        running = [one for one in self._schedule.before.values() if one.bundle == before]
        earlier = [one for one in running if one.health.update is None]
        return self._made.manifest.bundle if len(earlier) > len(running) / 2 else before

    def _number(self) -> int:
        highest = self._pool.highest()
        held = 0 if highest is None else highest[1].generation
        return max(held, self._made.manifest.generation) + 1

    def _told(self) -> dict[str, Report]:
        """The reports on the generation: these nodes are there, and are waited for."""
        identities = {n: entry.identity for n, entry in self._made.manifest.nodes.items()}
        reports = self._pool.reports(identities)
        told = latest_on(reports, self._made.manifest, self._made.digest)
        return {node: one for node, one in told.items() if node not in self._order.unheard}


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
    """How to go on without a node that is at fault, or that alone says that another one is."""
    known = tuple(failures)
    who = sorted({name for one in known for name in one.objectors})
    if who and all(one.objectors for one in known):
        names = " ".join(f"--without {node}" for node in who)
        return f"; if {', '.join(who)} is not to be believed: mesh rollout {names}"
    named = {one.node for one in known} | {o.who for one in known for o in one.objections}
    options = " or ".join(f"--without {node}" for node in sorted(named))
    return (
        f"; if {' or '.join(sorted(named))} is broken itself or not to be believed: mesh rollout "
        f"{options}"
    )
