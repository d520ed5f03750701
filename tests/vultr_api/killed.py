"""An `up` that is killed at a call to Vultr's API, and what the next one makes of it.

``python -m tests.vultr_api.killed [before|after|on]`` prints the table: a first `up` of the four
cities' servers, killed at every single call, then `up` again. ``before``: the call is lost,
``after``: it is done and its answer is lost (in both the operator's machine loses power); ``on``:
the engine alone is killed, and what it had started goes on until it notices.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from typing import get_args

from mesh.cli.engine import end_orphans
from mesh.infra.providers.openings import openings
from tests.kit.engine import Engine, until_none
from tests.kit.forks import without_forks
from tests.kit.stacks import plan_of, prod
from tests.kit.vultr_api.account import How, Knobs, Vultr
from tests.kit.vultr_api.serving import Served, answering
from tests.kit.vultr_api.stack import UP, stack

SECONDS = 600.0
"""Within which an `up` ends."""
LAG = Knobs(boot=0.5, ipv6=0.3)


def up_killed(engine: Engine, vultr: Vultr, call: int | str, how: How) -> str | None:
    """Run `up`, killed at this call (:meth:`Vultr.stop_at`), and say what that one was; None where
    it never came, and all went well."""
    process = Popen(
        engine._command(*UP), cwd=engine._folder("up"), env=without_forks(engine.environment),
        stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True,
    )  # fmt: skip

    over = threading.Event()

    def kill() -> None:
        process.kill()
        process.wait()
        if how != "on":
            end_orphans(engine.environment["PULUMI_HOME"])
        over.set()

    stop = vultr.stop_at(call, kill, how)
    said, _ = process.communicate(timeout=SECONDS)
    engine.said.append(said)
    if stop.at is not None:
        # Or else what ends the plugins of this run would meet those of the next.
        assert over.wait(SECONDS)
        until_none(engine, 20)
        engine.run("cancel", "--yes", check=False)
    else:
        assert process.returncode == 0, said
    vultr.stop = None
    return stop.at


@dataclass(frozen=True)
class Outcome:
    """What the account held when the `up` was killed, and after the next one; ``wrong`` is what is
    not as it has to be."""

    call: int
    what: str
    left: dict[str, int]
    held: dict[str, int]
    wrong: tuple[str, ...]


def _rules() -> int:
    plan = plan_of(prod())
    return sum(len(each.networks) or 1 for each in openings(plan, plan.nodes))


EXPECTED = {"servers": 4, "addresses": 4, "groups": 1, "rules": _rules(), "keys": 2}


def judged(engine: Engine, vultr: Vultr) -> Iterator[str]:
    """What is wrong after an `up` that has to have made all of it, once: too much or too little of
    anything, what no state knows, a server without its address."""
    held = vultr.holdings()
    for kind, count in EXPECTED.items():
        if held[kind] != count:
            yield f"{held[kind]} {kind} instead of {count}"
    known = {resource["id"] for resource in engine.resources() if "id" in resource}
    there = {*vultr.servers, *vultr.addresses, *vultr.groups, *vultr.keys}
    for stray in sorted(there - known):
        yield f"{stray} is in no state"
    for server in vultr.servers.values():
        if vultr.addresses[server.address].instance != server.id:
            yield f"{server.label} has lost its address"


@contextmanager
def fresh(template: Path, folder: Path, served: Served, engine: Engine) -> Iterator[Engine]:
    """The stack as it was made, in a folder of its own: making one takes a second."""
    shutil.copytree(template, folder)
    own = {
        key: value.replace(str(template), str(folder)) for key, value in engine.environment.items()
    } | served.environment
    try:
        yield replace(
            engine, state=folder, config=folder / engine.config.name, environment=own, said=[],
            program=folder,
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)


def outcomes(how: How, calls: Iterable[int]) -> Iterator[Outcome]:
    """Kill a first `up` at each of these calls, until one ends before its turn comes."""
    with tempfile.TemporaryDirectory() as name, answering(Vultr()) as first:
        template = Path(name, "template")
        with stack(template, first, servers_only=True) as engine:
            for call in calls:
                vultr = Vultr(knobs=replace(LAG))
                folder = Path(name, str(call))
                with answering(vultr) as served, fresh(template, folder, served, engine) as one:
                    found = outcome(one, vultr, call, how)
                    if found is None:
                        return
                    yield found


def outcome(engine: Engine, vultr: Vultr, call: int, how: How) -> Outcome | None:
    """Kill an `up` at this call and repeat it; None where it never came to that call."""
    what = up_killed(engine, vultr, call, how)
    if what is None:
        return None
    left = vultr.holdings()
    done = engine.run(*UP, check=False)
    said = done.text[-2000:]
    wrong = (said,) if done.returncode else tuple(judged(engine, vultr))
    return Outcome(call, what, left, vultr.holdings(), wrong)


def main() -> int:
    """Print the table; 1 where something is not as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.vultr_api.killed", description=__doc__)
    parser.add_argument("how", nargs="*", choices=[*get_args(How), []], default=get_args(How))
    parser.add_argument("--from", dest="first", type=int, default=1, help="the first call")
    parser.add_argument("--to", dest="last", type=int, default=sys.maxsize, help="the last one")
    given = parser.parse_args()
    heads = ("killed", "at call", "which is", *EXPECTED, "after the next up")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    wrong = 0
    for how in given.how:
        for found in outcomes(how, range(given.first, given.last + 1)):
            wrong += bool(found.wrong)
            verdict = "all of it, once" if not found.wrong else f"WRONG: {'; '.join(found.wrong)}"
            left = [str(found.left[kind]) for kind in EXPECTED]
            row = (how, str(found.call), found.what, *left, verdict)
            print("| " + " | ".join(row) + " |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
