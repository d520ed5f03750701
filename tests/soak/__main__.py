"""Breaks and heals a running twin at random, and looks at what has to hold all the while.

    python -m tests.soak --seed 7 --minutes 30

The twin is the one that ``make up`` has deployed (MESH_LAB names another). A seed gives the same
steps each time. Faults that were there before are kept, and reckoned with. Exit code: 0 where
everything held; 1 where something did not, which is named with the seed and the step; 2 where
there is no twin that is well to begin with. Whatever happens, what it broke is healed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mesh.cli.environment import environment, state_folder
from mesh.lab import faults
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles, files_of
from mesh.lab.underlay import World
from mesh.lab.world import load as load_world
from mesh.plan import Plan, make
from mesh.spec import load as load_spec
from mesh.spec import read_stack_file
from tests.kit.forks import with_forks
from tests.kit.stacks import ROOT
from tests.soak import invariants
from tests.soak.clients import Asker, asking
from tests.soak.network import owed
from tests.soak.steps import Scope, Step, draw

USUAL = 3.0
"""Seconds without an answer that need no step: BFD on a machine that is busy."""
RECENT = 30.0
"""Seconds after which a step is no reason for anything: a node has booted, sessions have ended."""
TOLD = 90.0
"""Seconds until ``mesh status`` says what is so: heartbeats come every 30 s."""
HOME = 120.0
"""Seconds until everything is as it was, after the end of all faults."""
LAST = 8.0
"""Seconds that healing everything takes at the end."""
LOOK = 1.0
WHOLE = 0.1
"""How often all faults are healed between two steps, and everything is looked for at home."""


class Violated(Exception):
    """Something that has to hold does not."""


class NoTwin(Exception):
    """There is no twin that is well to begin with."""


@dataclass
class Soak:
    """A twin, what is broken in it, and what was seen. ``patience`` stretches all bounds: for a
    machine that is busy with other things as well."""

    here: LabFiles
    world: World
    plan: Plan
    seed: int
    patience: float
    scope: Scope
    askers: Sequence[Asker]
    began: float = field(default_factory=time.monotonic)
    number: int = 0
    doing: str = "before the first step"
    active: dict[str, frozenset[str]] = field(init=False)
    home: dict[str, str] = field(default_factory=dict)
    bounds: list[tuple[float, float]] = field(default_factory=list)
    """When something was done, and for how long clients may have no answer by it."""
    told: dict[str, list[float]] = field(default_factory=dict)
    """Seconds until status said what is so, by verb."""
    silences: dict[str, list[float]] = field(default_factory=dict)
    """The longest time without an answer in each step, by verb."""

    def __post_init__(self) -> None:
        self.active = dict(self.scope.kept)

    def settle(self) -> None:
        """Note who answers whom while nothing is broken."""
        self._until(lambda: self._unlike_home() or self._status(), HOME, NoTwin)
        self.home = {str(asker): asker.by for asker in self.askers}

    def go(self, minutes: float) -> None:
        """Steps for so long, with the last one that heals everything."""
        random = Random(self.seed)
        end = self.began + 60 * minutes - LAST
        while time.monotonic() < end:
            self._step(draw(random, self.plan, self.active, self.scope), end)
            if self.active and random.random() < WHOLE:
                self.heal_all()
        self.heal_all()

    def heal_all(self) -> None:
        """End all faults; then everything is at home."""
        steps = [
            Step("heal", target, 0, verbs)
            for target, verbs in sorted(self.active.items())
            if self.scope.holds(target)
        ]
        healed = ", ".join(step.target for step in steps) or "nothing"
        bound = max((step.bound for step in steps), default=0.0)
        self._begin(f"heal all ({healed})", bound)
        for step in steps:
            self._do(step)
        self._end("heal all", self._until(lambda: self._unlike_home() or self._status(), HOME))

    def _step(self, step: Step, last: float) -> None:
        self._begin(f"{step.verb} {step.target}", step.bound)
        self._do(step)
        waited = self._until(self._status, TOLD)
        self._hold()
        end = min(last, time.monotonic() + step.quiet)
        while time.monotonic() < end:
            self._hold()
            time.sleep(LOOK)
        self._end(step.verb, waited)

    def _do(self, step: Step) -> None:
        before = self._owed()
        self._retried(lambda: self._apply(step))
        self.active = step.after(self.active)
        for asker in self.askers:
            if asker.service in self._owed() - before:
                asker.begin()
        # By now: a machine that boots takes seconds until the verb is over.
        self.bounds.append((time.monotonic(), step.bound))

    def _apply(self, step: Step) -> None:
        if step.verb == "heal":
            faults.heal(self.here.lab, step.target)
        else:
            faults.fault(self.here.lab, step.verb, step.target)

    def _retried(self, call: Callable[[], None]) -> None:
        """A daemon may be on its way back from the step before."""
        end = time.monotonic() + 10 * self.patience
        while True:
            try:
                return call()
            except LabError as error:
                if time.monotonic() > end:
                    raise Violated(f"it cannot be done: {error}") from None
                self._hold()
                time.sleep(LOOK)

    def _begin(self, what: str, bound: float) -> None:
        self.number += 1
        self.doing = what
        self.bounds.append((time.monotonic(), bound))
        for asker in self.askers:
            asker.longest = asker.silent

    def _end(self, verb: str, waited: float) -> None:
        owing = self._owed()
        silence, who = max(
            ((asker.longest, str(asker)) for asker in self.askers if asker.service in owing),
            default=(0.0, ""),
        )
        self.told.setdefault(verb, []).append(waited)
        self.silences.setdefault(verb, []).append(silence)
        silent = f"{who} silent for {silence:.1f} s" if silence else "no silence"
        self.say(f"{self.doing}: {silent}; status is right after {waited:.0f} s")

    def say(self, text: str) -> None:
        """A line of progress."""
        seconds = time.monotonic() - self.began
        print(f"[{seconds:6.0f} s] step {self.number:3d} {text}", flush=True)

    def _until(
        self,
        wrong: Callable[[], str],
        seconds: float,
        error: type[Exception] = Violated,
    ) -> float:
        """Seconds until nothing is wrong; whatever has to hold all the while does meanwhile."""
        began = time.monotonic()
        while words := wrong():
            if time.monotonic() > began + seconds * self.patience:
                raise error(f"not within {seconds * self.patience:.0f} s: {words}")
            self._hold()
            time.sleep(LOOK)
        return time.monotonic() - began

    def _hold(self) -> None:
        """Look at what has to hold at every moment."""
        for words in (
            *invariants.kernel_tables(self.here, self.plan),
            *invariants.upstreams(self.here, self.world, self.plan),
            *self._unanswered(),
        ):
            raise Violated(words)

    def _owed(self) -> frozenset[str]:
        """The services at which every client is to be answered now."""
        return frozenset(
            one.name for one in self.plan.services if owed(self.plan, self.active, one)
        )

    def _unanswered(self) -> Iterator[str]:
        services = self._owed()
        now = time.monotonic()
        recent = [bound for when, bound in self.bounds if when > now - RECENT]
        allowed = (USUAL + max(recent, default=0.0)) * self.patience
        for asker in self.askers:
            if asker.service in services and asker.silent > allowed:
                yield f"{asker} has no answer for {asker.silent:.1f} s (bound: {allowed:.0f} s)"

    def _unlike_home(self) -> str:
        for asker in self.askers:
            if asker.silent or not asker.by:
                return f"{asker} has no answer"
            if asker.by != self.home.get(str(asker), asker.by):
                return f"{asker} is answered by {asker.by}, and not by {self.home[str(asker)]}"
        return ""

    def _status(self) -> str:
        """What status says and is not so; empty where it is right."""
        done = subprocess.run(
            ["mesh", "status", "--json"],
            cwd=ROOT, env=with_forks(environment(ROOT, state_folder(ROOT))),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1):
            raise NoTwin(f"mesh status: {done.stderr.strip()}")
        said: dict[str, Any] = json.loads(done.stdout)
        of = {node.id: invariants.heard(self.here, self.world, node.id) for node in self.plan.nodes}
        lies = (
            *invariants.untruths(said, of, self.plan, self.active),
            *invariants.registry_words(said, self.world, self.plan, self.active),
        )
        return "; ".join(lies)


@contextmanager
def soak(chosen: argparse.Namespace) -> Iterator[Soak]:
    """The running twin with clients that ask; at the end it is as it was."""
    try:
        here, world = files_of(), load_world(files_of().lab)
        plan = make(load_spec("lab", read_stack_file(ROOT / "Pulumi.lab.yaml"), ROOT).spec)
        nodes = frozenset(chosen.on.split(",") if chosen.on else (node.id for node in plan.nodes))
        for node in nodes:
            world.node(node)
        kept = {target: frozenset(verbs) for target, verbs in faults.active(here.lab).items()}
    except LabError as error:
        raise NoTwin(str(error)) from None
    scope = Scope(nodes, kept)
    with asking(here, world, plan) as askers:
        try:
            yield Soak(here, world, plan, chosen.seed, chosen.patience, scope, askers)
        finally:
            for target in faults.active(here.lab):
                if scope.holds(target):
                    faults.heal(here.lab, target)


def main() -> int:
    """The exit code."""
    chosen = _arguments()
    # As after Ctrl-C, what it broke is healed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ.setdefault("MESH_IMAGE", environment(ROOT)["MESH_IMAGE"])
    try:
        with soak(chosen) as run:
            return _run(run, chosen.minutes)
    except NoTwin as error:
        print(f"no twin to begin with: {error}", file=sys.stderr)
        return 2


def _run(run: Soak, minutes: float) -> int:
    run.settle()
    print(f"seed {run.seed}, {minutes:g} min, patience {run.patience:g}", flush=True)
    run.began = time.monotonic()
    try:
        run.go(minutes)
    except Violated as error:
        broken = ", ".join(f"{' '.join(sorted(v))} {t}" for t, v in sorted(run.active.items()))
        print(
            f"violated: seed {run.seed}, step {run.number} ({run.doing}; active: "
            f"{broken or 'nothing'}): {error}",
            flush=True,
        )
        return 1
    finally:
        _sum_up(run)
    print(f"seed {run.seed}: {run.number} steps, everything held", flush=True)
    return 0


def _sum_up(run: Soak) -> None:
    print("steps, longest silence of any client, longest time until status is right:")
    for verb, silences in sorted(run.silences.items()):
        told = max(run.told[verb])
        print(f"  {verb:13} {len(silences):3d}  {max(silences):5.1f} s  {told:4.0f} s")
    sent = sum(asker.sent for asker in run.askers)
    print(f"  {sum(asker.lost for asker in run.askers)} of {sent} questions lost", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="the same seed, the same steps")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--on", help="break these nodes and their tunnels only, for example a,b")
    parser.add_argument("--patience", type=float, default=1, help="stretches all bounds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
