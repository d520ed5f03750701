"""A twin of its own, deployed from a copy of this checkout, in which cases edit files and keys."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from mesh.cli.engine import recover
from mesh.cli.environment import environment
from mesh.lab.world import load as load_world
from mesh.plan import make
from mesh.plan.model import Address
from mesh.publish.choices import VARIABLE
from mesh.spec import load, read_stack_file
from tests.kit.stacks import ROOT
from tests.kit.wait import until
from tests.twin.conftest import Twin, another, checkout_of
from tests.waves.applied import Taken, Watch, watching
from tests.waves.clients import Heard, connecting

UP = ("up", "--yes", "--skip-preview")
SETTLED = 90.0
"""Seconds until all is well again after a change: sessions that ended are held against nodes for a
minute."""
BEFORE, AFTER = 1.0, 2.0
"""Seconds for which clients ask before an update, and after it."""
_SIGNED = re.compile(r"generation (\d+) signed")
SERVICE = "web"
TOGETHER = 0.25
"""Seconds within which nodes that apply are taken for one wave."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A text of a file of the checkout that becomes another one."""

    file: str
    text: str
    becomes: str


@dataclass(frozen=True, slots=True)
class Change:
    """What an update brings: keys of the stack file, edits of the checkout, and what stands in its
    environment."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    edits: Sequence[Edit] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One `up` under probes. ``said`` is its output, with the moment of each line."""

    code: int
    began: float
    ended: float
    said: tuple[tuple[float, str], ...]
    taken: tuple[Taken, ...]
    heard: tuple[Heard, ...]

    @property
    def generations(self) -> tuple[int, ...]:
        """The generations that it signed, in their order. The engine says each line twice."""
        found = (_SIGNED.search(line) for _, line in self.said)
        return tuple(dict.fromkeys(int(each[1]) for each in found if each))

    @property
    def signed(self) -> float:
        """The moment when the first of them was signed; the beginning where none was."""
        return next((at for at, line in self.said if _SIGNED.search(line)), self.began)

    @property
    def output(self) -> str:
        """All that it said."""
        return "\n".join(line for _, line in self.said)

    def nodes(self, generation: int) -> tuple[str, ...]:
        """The nodes that had this generation in force at some time."""
        return Watch(list(self.taken)).nodes(generation)

    def waves(self, generation: int) -> int:
        """In how many groups, apart from each other in time, nodes took this generation over."""
        moments = sorted(taken.at for taken in self.taken if taken.generation == generation)
        gaps = [later - at for at, later in pairwise(moments)]
        return bool(moments) + sum(gap > TOGETHER for gap in gaps)

    def lost(self) -> dict[str, int]:
        """Connections without an answer by city."""
        found: dict[str, int] = {}
        for one in self.heard:
            found[one.city] = found.get(one.city, 0) + len(one.lost)
        return found

    def gap(self, city: str) -> float:
        """The longest time without an answer in a city, in seconds."""
        return max(one.gap for one in self.heard if one.city == city)


@dataclass(frozen=True, slots=True)
class Underway:
    """An `up` that runs, and what it has said so far."""

    engine: subprocess.Popen[str]
    said: list[tuple[float, str]]

    def wait_for(self, *words: str) -> None:
        """Wait until a line has these words, or it has ended."""

        def shown() -> bool:
            lines = [line for _, line in list(self.said)]
            return any(all(word in line for word in words) for line in lines)

        until(lambda: shown() or self.engine.poll() is not None, 120, " ".join(words))


class Network(Twin):
    """The twin, and updates of it under probes."""

    @property
    def environment(self) -> dict[str, str]:
        """Without forks: proofs kill the engine, and edit the checkout."""
        return environment(self.root, self.state)

    def with_keys(self, folder: Path, keys: Mapping[str, Any]) -> Path:
        """A copy of the lab's stack file with other keys; those of a map beside what it has."""
        path = super().with_keys(folder, {})
        document = yaml.safe_load(path.read_text())
        for key, value in keys.items():
            before = document["config"].get(f"mesh:{key}")
            both = isinstance(before, dict) and isinstance(value, dict)
            merged = before | value if both else value
            document["config"][f"mesh:{key}"] = merged
        path.write_text(yaml.safe_dump(document))
        return path

    def roll(self, change: Change, during: Callable[[Underway], None] | None = None) -> Rollout:
        """One `up` with a change, while all clients connect. ``during`` is called beside it, and
        may kill it. The change's edits are made by ``changed``."""
        clients, asked = load_world(self.name).clients, addresses(self.root)
        said: list[tuple[float, str]] = []
        with (
            connecting(self.name, clients, asked) as heard,
            watching(self.name) as watch,
            tempfile.TemporaryDirectory() as folder,
        ):
            time.sleep(BEFORE)
            began = time.monotonic()
            with self._started(self.with_keys(Path(folder), change.keys), change) as engine:
                reader = threading.Thread(target=_read, args=(engine, said), daemon=True)
                reader.start()
                if during is not None:
                    during(Underway(engine, said))
                code = engine.wait(900)
                reader.join(10)
            ended = time.monotonic()
            time.sleep(AFTER)
        return Rollout(code, began, ended, tuple(said), tuple(watch.taken), heard)

    @contextmanager
    def _started(self, config: Path, change: Change) -> Iterator[subprocess.Popen[str]]:
        own = self.environment | dict(change.variables)
        command = ["pulumi", "--non-interactive", *UP, "--stack", "lab"]
        engine = subprocess.Popen(
            [*command, "--config-file", str(config)], cwd=self.root, env=own, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            yield engine
        finally:
            if engine.poll() is None:
                kill(engine)

    @contextmanager
    def changed(self, change: Change) -> Iterator[None]:
        """The checkout with the change's edits, until the end."""
        before = {edit.file: (self.root / edit.file).read_text() for edit in change.edits}
        try:
            for edit in change.edits:
                path = self.root / edit.file
                text = path.read_text()
                assert edit.text in text, f"{edit.file} has no {edit.text!r}"
                path.write_text(text.replace(edit.text, edit.becomes))
            yield
        finally:
            for file, text in before.items():
                (self.root / file).write_text(text)

    def restore(self) -> None:
        """Everything as the stack file of the lab has it, at every node at once."""
        recover(self.root, self.state, self.environment)
        self.at_once(Change())

    def at_once(self, change: Change) -> None:
        """A change that goes to every node at once, unwatched."""
        os.environ[VARIABLE] = "now"
        try:
            with tempfile.TemporaryDirectory() as folder:
                self.pulumi(*UP, config=self.with_keys(Path(folder), change.keys))
        finally:
            del os.environ[VARIABLE]
        assert not (found := self.problems()), found

    def out_of_service(self) -> tuple[str, ...]:
        """The nodes that are still out of service once they have had the time to settle."""
        end = time.monotonic() + SETTLED
        while True:
            nodes = self.status()["nodes"]
            found = tuple(node for node, each in nodes.items() if not each["in_service"])
            if not found or time.monotonic() > end:
                return found
            time.sleep(1)

    def problems(self) -> tuple[str, ...]:
        """What `mesh status` complains of, once it has been given the time to settle."""
        end = time.monotonic() + SETTLED
        while True:
            found = tuple(self.status()["problems"])
            if not found or time.monotonic() > end:
                return found
            time.sleep(1)


def kill(engine: subprocess.Popen[str]) -> None:
    """End an engine and all that it has started, at once."""
    os.killpg(engine.pid, signal.SIGKILL)
    engine.wait(10)


def kill_alone(engine: subprocess.Popen[str]) -> None:
    """End an engine at once, and nothing that it has started."""
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait(10)


def _read(engine: subprocess.Popen[str], said: list[tuple[float, str]]) -> None:
    assert engine.stdout is not None, "it is a pipe"
    for line in engine.stdout:
        said.append((time.monotonic(), line.rstrip()))


def addresses(root: Path) -> tuple[Address, ...]:
    """The addresses of the service that every city answers."""
    plan = make(load("lab", read_stack_file(root / "Pulumi.lab.yaml"), root).spec)
    return next(each.addresses.both() for each in plan.services if each.name == SERVICE)


@contextmanager
def deployed(name: str, example: str, folder: Path) -> Iterator[Network]:
    """The twin, up and well; whatever happens, nothing of it stays."""
    root = checkout_of(folder, example, services=False)
    shutil.copytree(ROOT / "site", root / "site")
    file = root / "Pulumi.lab.yaml"
    document = yaml.safe_load(file.read_text())
    document["config"]["mesh:protect"] = False  # nodes come and go
    file.write_text(yaml.safe_dump(document))
    with another(name, root) as state, pytest.MonkeyPatch.context() as patch:
        # Resources of our own are imported from the copy as well, not from its .venv's checkout.
        patch.setenv("PYTHONPATH", str(root))
        network = Network(state, root, name)
        network.mesh("lab", "up")
        assert not (found := network.problems()), found
        yield network
