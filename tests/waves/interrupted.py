"""`up` is killed after each wave, and a node that was off comes back between two waves."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from mesh.cli.engine import recover
from mesh.cli.environment import environment
from mesh.lab import faults
from mesh.publish.choices import VARIABLE
from tests.kit.wait import until
from tests.waves.applied import Watch, in_force
from tests.waves.cases import GOOD, opening
from tests.waves.network import Change, Network, kill
from tests.waves.outcome import Outcome
from tests.waves.proofs import lost

AWAY = "mia-vultr-1"
RESTARTING = next(each.change for each in GOOD if each.name == "hold-time")
QUIET = opening(8089)
LATER = opening(8090)


def killed_after(count: int, change: Change, name: str, network: Network) -> Outcome:
    """`up` is killed when so many nodes have the generation; what was released finishes by itself,
    nothing stays drained, and the next `up` goes on."""

    def stop(engine: subprocess.Popen[str], watch: Watch) -> None:
        until(lambda: len(watch.taken) >= count or engine.poll() is not None, 120, "so many nodes")
        kill(engine)

    try:
        with network.changed(change):
            first = network.roll(change, stop)
            drained = network.out_of_service()
            recover(network.root, network.state, environment(network.root, network.state))
            second = network.roll(change)
            wrong = [*lost(first), *lost(second), *network.problems()]
            if drained:
                wrong.append(f"{', '.join(drained)} stayed out of service")
            if second.code:
                wrong.append(f"the next `up` ended with {second.code}")
            if len(set(in_force(network.name).values())) > 1:
                wrong.append(f"in force: {in_force(network.name)}")
    finally:
        network.restore()
    return Outcome(name, (first, second), tuple(wrong))


def away(network: Network) -> Outcome:
    """A node is off while a generation goes out without it, and comes back between two waves of the
    next: it has the newest at the end."""

    def back(engine: subprocess.Popen[str], watch: Watch) -> None:
        until(lambda: watch.taken or engine.poll() is not None, 120, "the first wave")
        faults.heal(network.name, AWAY)

    without = {VARIABLE: f"without={AWAY}"}
    faults.fault(network.name, "power-loss", AWAY)
    try:
        with network.changed(QUIET):
            missed = network.roll(replace(QUIET, variables=without))
        with network.changed(LATER):
            caught = network.roll(replace(LATER, variables=without), back)
        wrong = [*network.problems(), *lost(caught)]
        numbers = in_force(network.name)
        wrong += [f"`up` ended with {each.code}" for each in (missed, caught) if each.code]
        if len(set(numbers.values())) > 1:
            wrong.append(f"in force: {numbers}")
    finally:
        faults.heal(network.name, AWAY)
        network.restore()
    return Outcome("away", (missed, caught), tuple(wrong))


INTERRUPTED: dict[str, Callable[[Network], Outcome]] = {
    **{
        name: partial(killed_after, count, change, name)
        for kind, change in (("quiet", QUIET), ("restarting", RESTARTING))
        for count in (1, 2, 3)
        for name in [f"killed-{kind}-{count}"]
    },
    "away": away,
}
