"""`up` is killed in each wave, a provider forgets the password that it had, and a node that was off
comes back."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from mesh.cli.engine import recover
from mesh.cli.environment import environment
from mesh.lab import bird, faults, rotation
from mesh.lab.lab_files import files_of
from mesh.lab.world import load as load_world
from mesh.publish.choices import VARIABLE
from tests.kit.wait import patience, repeating
from tests.waves.applied import in_force
from tests.waves.cases import PASSWORD, opening
from tests.waves.network import Change, Network, Rollout, Underway, kill, kill_alone
from tests.waves.outcome import Outcome
from tests.waves.proofs import lost

AWAY, CITY = "mia-vultr-1", "mia"
QUIET = opening(8089)
RESTARTING = Change(PASSWORD)
MISSED = (opening(8090), opening(8091))
"""What goes out while a node is off."""
OLD_PREFIX = "192.30.124.0/23"
MORE = Change({"prefixes": {"ipv4": ["192.30.120.0/23", OLD_PREFIX], "ipv6": "2620:71:4000::/48"}})
"""What is in force before a node goes off: a prefix that the next update withdraws."""
WITHOUT = {VARIABLE: f"without={AWAY}"}
COMES = 60.0
"""Seconds until a machine has booted and has what is in force."""


# --- killed --------------------------------------------------------------------------------------


def killed(
    wave: int,
    change: Change,
    end: Callable[[subprocess.Popen[str]], None],
    name: str,
    network: Network,
    then: Change | None = None,
) -> Outcome:
    """`up` is killed in a wave, and while its node drains where it does; what was released finishes
    by itself, nothing stays drained, and the next `up` goes on, or back with another change."""
    drains = ("(draining)",) if change is RESTARTING else ()

    def stop(running: Underway) -> None:
        running.wait_for(f"wave {wave} of 4: ", *drains)
        end(running.engine)

    try:
        with network.changed(change):
            first = network.roll(change, stop)
            drained = network.out_of_service()
            recover(network.root, network.state, environment(network.root, network.state))
            if then is None:
                second = network.roll(change)
        if then is not None:
            second = network.roll(then)
        wrong = [*lost(first), *lost(second), *network.problems(), *_not_one(network)]
        if not first.code:
            wrong.append("it was over before it could be killed")
        if drained:
            wrong.append(f"{', '.join(drained)} stayed out of service")
        if second.code:
            wrong.append(f"the next `up` ended with {second.code}")
        if again := [node for node in _had(first) if _drained(second, node) and then is None]:
            wrong.append(f"{', '.join(again)} drained again")
    finally:
        network.restore()
    return Outcome(name, (first, second), tuple(wrong))


def _had(rollout: Rollout) -> set[str]:
    return {taken.node for taken in rollout.taken}


def _drained(rollout: Rollout, node: str) -> bool:
    return f"{node} (drains first)" in rollout.output


def _not_one(network: Network) -> Iterator[str]:
    numbers = in_force(network.name)
    if len(set(numbers.values())) > 1:
        yield f"in force: {numbers}"


# --- a provider that keeps no password -----------------------------------------------------------


def forgotten(network: Network) -> Outcome:
    """The provider of one city takes the new password alone before its node has it: that city is
    answered by others meanwhile, which lose nothing."""
    box = load_world(network.name).node(AWAY).upstream
    directory = files_of(network.name).box(box)

    def forget(running: Underway) -> None:
        running.wait_for("wave 1 of 4: ")
        newest = {session: taken[0] for session, taken in rotation.read(directory).items()}
        (directory / rotation.FILE).unlink()
        path = directory / rotation.CONFIG
        rotation.write_private(path, rotation.with_passwords(path.read_text(), newest))
        bird.ask(files_of(network.name), box, "configure")

    try:
        rollout = network.roll(RESTARTING, forget)
        wrong = [*lost(rollout, CITY), *network.problems(), *_not_one(network)]
        if rollout.code:
            wrong.append(f"`up` ended with {rollout.code}")
        if _drained(rollout, AWAY):
            wrong.append(f"{AWAY} drained, though it announced nothing")
    finally:
        network.restore()
    return Outcome("password-forgotten", (rollout,), tuple(wrong))


# --- away ----------------------------------------------------------------------------------------


def away(network: Network, name: str, variables: dict[str, str]) -> Outcome:
    """A node is off while two generations go out without it, and comes back between two waves of a
    third one: it has that at the end, and announces nothing of what it had before."""

    def back(running: Underway) -> None:
        running.wait_for("wave 1 of ")
        faults.heal(network.name, AWAY)

    try:
        with _off(network) as missed, _exported(network) as exported:
            caught = network.roll(replace(RESTARTING, variables=variables), back)
            wrong = [*_comes(network), *network.problems(), *lost(caught, CITY), *_old(exported)]
        if caught.code:
            wrong.append(f"`up` ended with {caught.code}")
        if not variables and f"{AWAY}: reports again, and follows now" not in caught.output:
            wrong.append(f"`up` did not say that {AWAY} follows")
    finally:
        network.restore()
    return Outcome(name, (*missed, caught), tuple(wrong))


def after_all(network: Network) -> Outcome:
    """The same, and it comes back when both are through: it has the newest by itself."""
    try:
        with _off(network) as missed, _exported(network) as exported:
            faults.heal(network.name, AWAY)
            wrong = [*_comes(network), *network.problems(), *_old(exported)]
    finally:
        network.restore()
    return Outcome("away-after-all", missed, tuple(wrong))


def off(network: Network, name: str, shown: str) -> Outcome:
    """A node loses its power just before `up`, or when that shows a wave: it is left out, nobody
    else is blamed, it has what the others have when it is back, and the next `up` is well."""

    def end(running: Underway) -> None:
        running.wait_for(shown)
        faults.fault(network.name, "power-loss", AWAY)

    try:
        if not shown:
            faults.fault(network.name, "power-loss", AWAY)
        try:
            rollout = network.roll(RESTARTING, end if shown else None)
        finally:
            faults.heal(network.name, AWAY)
        wrong = [*lost(rollout, CITY), *_comes(network)]
        again = network.roll(RESTARTING)
        wrong += [*lost(again), *network.problems()]
        if again.code or "(drains first)" in again.output:
            wrong.append(f"the next `up` ended with {again.code}, or restarted sessions")
        others = set(rollout.nodes(rollout.generations[-1])) - {AWAY}
        if len(rollout.generations) > 1 or len(others) < len(in_force(network.name)) - 1:
            wrong.append(f"{sorted(others)} had generations {rollout.generations}")
        if not rollout.code or f"{AWAY}: no other node reaches it, and takes" not in rollout.output:
            wrong.append(f"`up` did not say that {AWAY} is off")
    finally:
        network.restore()
    return Outcome(name, (rollout, again), tuple(wrong))


def _old(exported: set[str]) -> Iterator[str]:
    if OLD_PREFIX in exported:
        yield f"{AWAY} announced {OLD_PREFIX}, which was withdrawn while it was off"
    if not exported:
        yield f"{AWAY} announced nothing"


@contextmanager
def _off(network: Network) -> Iterator[tuple[Rollout, ...]]:
    """A node is off while two generations go out without it; it is healed in the end."""
    network.at_once(MORE)
    faults.fault(network.name, "power-loss", AWAY)
    try:
        missed = []
        for change in MISSED:
            with network.changed(change):
                missed.append(network.roll(replace(change, variables=WITHOUT)))
            assert not missed[-1].code, missed[-1].output
        yield tuple(missed)
    finally:
        faults.heal(network.name, AWAY)


def _comes(network: Network) -> Iterator[str]:
    """Waits until the node has what the others have."""
    end = time.monotonic() + patience(COMES)
    while (wrong := list(_not_one(network))) and time.monotonic() < end:
        time.sleep(0.5)
    yield from wrong


@contextmanager
def _exported(network: Network) -> Iterator[set[str]]:
    """The prefixes that the node gives to its provider, until the end."""
    found = set[str]()
    command = ("birdc", "show", "route", "export", "vultr4")

    def look() -> None:
        text = network.exec(AWAY, *command, check=False)
        found.update(re.findall(r"^(\d\S+/\d+) ", text, re.MULTILINE))

    with repeating(look, 0.1):
        yield found


INTERRUPTED: dict[str, Callable[[Network], Outcome]] = {
    **{
        name: partial(killed, wave, change, end, name)
        for kind, change, end in (
            ("quiet", QUIET, kill),
            ("restarting", RESTARTING, kill),
            ("engine", RESTARTING, kill_alone),
        )
        for wave in (1, 2, 3)
        for name in [f"killed-{kind}-{wave}"]
    },
    "killed-and-back": lambda network: killed(
        2, RESTARTING, kill, "killed-and-back", network, Change()
    ),
    "password-forgotten": forgotten,
    "off-before": lambda network: off(network, "off-before", ""),
    "off-between": lambda network: off(network, "off-between", "wave 1 of 4: "),
    "away": lambda network: away(network, "away", {}),
    "away-without": lambda network: away(network, "away-without", WITHOUT),
    "away-after-all": after_all,
}
