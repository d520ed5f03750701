"""Where a publication can end before its time, and what the next `up` does then.

``python -m tests.engine.killpoints [WORD …]`` prints the table: every point, followed by a change
that is taken back and by one that is repeated. Real engine, real registry over TLS, nodes that join
and report (:mod:`tests.kit.clouds.inhabitants`) at a fake of Vultr's API. The change is a service
more or less (``mesh:whoami``), which the files of every node show.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mesh.preview.steps import read
from mesh.preview.summary import Summary, summarise
from mesh.registry.registry import Refused
from tests.kit.clouds.deployment import production
from tests.kit.clouds.inhabitants import Mood, Town, inhabited
from tests.kit.engine import LOGGING, Engine, changed, until_none
from tests.kit.forks import without_forks
from tests.kit.vultr_api import Vultr, answering
from tests.kit.vultr_api.stack import UP, servers
from tests.kit.vultr_api.stack import stack as deployed

NODE = "mia-vultr-1"
NODES = {"lax-vultr-1": {"number": 1}, NODE: {"number": 3}}
SECONDS = 240.0
"""Within which anything awaited has to come."""

After = Literal["revert", "repeat"]
AFTERWARDS: tuple[After, ...] = ("revert", "repeat")


@dataclass
class Gate:
    """A place where a registry stops until it is let go on; ``ends`` with an error, or not."""

    ends: bool
    reached: threading.Event = field(default_factory=threading.Event)
    free: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> None:
        self.reached.set()
        self.free.wait(SECONDS)
        if self.ends:
            raise Refused(503, "its server is gone")


@dataclass(frozen=True)
class Stack:
    """A deployed network whose nodes can be met."""

    engine: Engine
    town: Town
    folder: Path

    def with_whoami(self, on: bool) -> Engine:
        """The same stack with that service, or without it."""
        return changed(self.engine, self.folder, {"whoami": on})

    def shows_whoami(self) -> bool:
        """Whether the files that the registries hold have it."""
        return '\\"whoami\\": true' in self.town.part(NODE)

    def number(self) -> int:
        """The generation that the registries hold."""
        return self.town.held().manifest.generation

    def serial(self) -> int:
        """The candidate in the state."""
        latest = json.loads(self.checkpoint.read_bytes())["checkpoint"]["latest"]
        kind = "mesh:Candidate"
        return next(int(r["outputs"]["serial"]) for r in latest["resources"] if kind in r["type"])

    @property
    def checkpoint(self) -> Path:
        """Where the file backend keeps the state."""
        name = f"{self.engine.stack}.json"
        return self.engine.state / "state" / ".pulumi" / "stacks" / "anycast-mesh" / name


@contextmanager
def laid(folder: Path) -> Iterator[Stack]:
    """A network of two nodes, of which nothing exists yet."""
    vultr = Vultr()
    keys = production(nodes=NODES, providers={"vultr": {"checkAccount": False}})
    changes = folder / "changes"
    changes.mkdir()
    with (
        answering(vultr, folder / "tls") as served,
        deployed(folder, served, keys) as engine,
        inhabited(folder / "inhabitants", lambda: servers(vultr)) as town,
    ):
        yield Stack(engine, town, changes)


@contextmanager
def standing(folder: Path) -> Iterator[Stack]:
    """The network, deployed."""
    with laid(folder) as stack:
        stack.engine.run(*UP)
        yield stack


@dataclass
class Run:
    """An `up` that is met while it runs; what it says is read on the side."""

    engine: Engine
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    @classmethod
    def of(cls, engine: Engine) -> Run:
        process = subprocess.Popen(
            engine.command(*UP), cwd=engine._folder("up"),
            env=without_forks(engine.environment) | LOGGING,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            # Tests that a shell runs in the background have it ignored, and so would the engine.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        run = cls(engine, process)
        threading.Thread(target=run._read, daemon=True).start()
        return run

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line)
                self.news.notify_all()

    def until(self, words: str) -> None:
        """Wait until it has said that."""
        with self.news:
            found = self.news.wait_for(lambda: words in "".join(self.lines), SECONDS)
        assert found, f"never said {words!r}:\n{''.join(self.lines)}"

    def kill(self) -> None:
        """SIGKILL to the engine alone, as the kernel would for want of memory."""
        self.process.kill()
        self._over()

    def interrupt(self, times: int, then: Callable[[], None]) -> None:
        """Ctrl-C, and what happens to the network then. After the first one the engine waits for
        what it is at, so that something has to end it; after the second it does not."""
        for _ in range(times):
            os.killpg(self.process.pid, signal.SIGINT)
            with self.news:
                self.news.wait_for(lambda: "cancellation" in "".join(self.lines).lower(), 60)
        then()
        self._over()

    def _over(self) -> None:
        self.process.wait(SECONDS)
        until_none(self.engine, 20)

    def end(self) -> int:
        """Its exit status, when it has ended by itself."""
        return self.process.wait(SECONDS * 2)


Interruption = Callable[[Stack, Engine], None]


def at_start(stack: Stack, engine: Engine) -> None:
    run = Run.of(engine)
    run.until("Updating")
    run.kill()


def candidate_written(stack: Stack, engine: Engine) -> None:
    """The engine shows a step before it writes it; so the state itself is looked at."""
    stack.town.mood.before_put = gate = Gate(ends=True)
    before, end = stack.serial(), time.monotonic() + SECONDS
    run = Run.of(engine)
    while stack.serial() == before:
        assert time.monotonic() < end, "".join(run.lines)
        time.sleep(0.005)
    run.kill()
    gate.free.set()


def before_put(stack: Stack, engine: Engine) -> None:
    stack.town.mood.before_put = gate = Gate(ends=True)
    _killed_at(gate, engine)


def after_put(stack: Stack, engine: Engine) -> None:
    stack.town.mood.after_put = gate = Gate(ends=False)
    _killed_at(gate, engine)


def _killed_at(gate: Gate, engine: Engine) -> None:
    run = Run.of(engine)
    assert gate.reached.wait(SECONDS), "".join(run.lines)
    run.kill()
    gate.free.set()


def waiting(stack: Stack, engine: Engine) -> None:
    stack.town.mood.silent.add(NODE)
    run = Run.of(engine)
    run.until(f"waiting for {NODE}")
    run.kill()


def all_applied(stack: Stack, engine: Engine) -> None:
    run = Run.of(engine)
    run.until("2 of 2 applied")
    run.kill()


def not_recorded(stack: Stack, engine: Engine) -> None:
    """The publication returns, and the engine never writes that down."""
    stack.town.mood.silent.add(NODE)
    run = Run.of(engine)
    run.until(f"waiting for {NODE}")
    before = stack.checkpoint.read_bytes()
    stack.town.mood.silent.clear()
    assert run.end() == 0, "".join(run.lines)
    stack.checkpoint.write_bytes(before)


def rolled_back(stack: Stack, engine: Engine) -> None:
    stack.town.mood.failing.add(NODE)
    assert engine.run(*UP, check=False).returncode


def interrupted(stack: Stack, engine: Engine) -> None:
    _interrupted(stack, engine, 1)


def interrupted_twice(stack: Stack, engine: Engine) -> None:
    _interrupted(stack, engine, 2)


def _interrupted(stack: Stack, engine: Engine, times: int) -> None:
    stack.town.mood.silent.add(NODE)
    run = Run.of(engine)
    run.until(f"waiting for {NODE}")

    def roll_back() -> None:
        stack.town.mood.failing.add(NODE)
        stack.town.mood.silent.clear()

    run.interrupt(times, roll_back if times == 1 else lambda: None)


@dataclass(frozen=True)
class Point:
    """A place where an `up` ends: ``signed`` is whether the registries hold its generation then,
    and ``begun`` whether the state shows that it was begun."""

    name: str
    happens: Interruption
    begun: bool
    signed: bool


POINTS = (
    Point("killed at the start", at_start, False, False),
    Point("killed when the candidate is written", candidate_written, True, False),
    Point("killed between sign and put", before_put, True, False),
    Point("killed after the put, before its answer", after_put, True, True),
    Point("killed while a node is dark", waiting, True, True),
    Point("killed when all have applied", all_applied, True, True),
    Point("killed before the result is recorded", not_recorded, True, True),
    Point("a node rolls back", rolled_back, True, True),
    Point("Ctrl-C while a node is dark", interrupted, True, True),
    Point("Ctrl-C twice while a node is dark", interrupted_twice, True, True),
)


@dataclass(frozen=True)
class Outcome:
    """What came of it: ``held`` are the generations that the registries hold before the `up` that
    is interrupted, after it, and after the next one."""

    held: tuple[int, int, int]
    shown: str | None
    because: tuple[str, ...]
    right: bool


def outcome(stack: Stack, point: Point, after: After) -> Outcome:
    """Interrupt a change at that point, and see what the next `up` does."""
    on = stack.shows_whoami()
    numbers = [stack.number()]
    point.happens(stack, stack.with_whoami(not on))
    stack.town.mood.__dict__.update(Mood().__dict__)
    stack.engine.run("cancel", "--yes", check=False)
    numbers.append(stack.number())
    wanted = on if after == "revert" else not on
    engine = stack.with_whoami(wanted)
    summary = previewed(engine)
    engine.run(*UP)
    numbers.append(stack.number())
    return Outcome(
        (numbers[0], numbers[1], numbers[2]),
        summary.generation,
        summary.because,
        stack.shows_whoami() is wanted,
    )


def settled(stack: Stack) -> bool:
    """Whether one more `up` finds nothing to do."""
    engine = stack.with_whoami(stack.shows_whoami())
    return engine.run(*UP, "--expect-no-changes", check=False).returncode == 0


def previewed(engine: Engine) -> Summary:
    """What `mesh preview` says of the next update, without a refresh."""
    done = engine.run("preview", "--json", "--show-sames")
    return summarise(read(done.stdout[done.stdout.index("{") :]))


def expected(point: Point, after: After) -> bool:
    """Whether the next `up` has to publish: everything but a revert of what was never begun."""
    return after == "repeat" or point.begun


def main(words: list[str]) -> int:
    """Print the table, of the points with one of these words or of all; 1 where something is not
    as it has to be."""
    points = [p for p in POINTS if not words or any(word in p.name for word in words)]
    wrong = 0
    heads = ("point", "then", "held", "preview says", "because", "fleet")
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    with tempfile.TemporaryDirectory() as name, standing(Path(name)) as stack:
        for point in points:
            for after in AFTERWARDS:
                found = outcome(stack, point, after)
                published = found.held[2] > found.held[1]
                good = (
                    published == expected(point, after)
                    and (found.shown is not None) == published
                    and found.right
                    and settled(stack)
                )
                wrong += not good
                verdict = "right" if good else f"WRONG ({found})"
                held = " -> ".join(map(str, found.held))
                row = (point.name, after, held, found.shown or "nothing changes",
                       "; ".join(found.because), verdict)  # fmt: skip
                print("| " + " | ".join(row) + " |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
