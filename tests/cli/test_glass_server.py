"""``mesh glass`` and a node's own looking glass, in a namespace as in a lab."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic_core import to_json
from typer.testing import CliRunner

from mesh.cli import glass_client, glass_doors
from mesh.cli.main import app
from mesh.lab import namespaces
from mesh.netns import inside
from mesh.publish import Fleet as State
from mesh.publish import dump_fleet
from tests.cli.glass import stack_state
from tests.glass import samples
from tests.kit.namespaces import spaces
from tests.kit.registry import Fleet
from tests.kit.stacks import ROOT
from tests.kit.wait import PATIENCE, repeating, until

pytestmark = pytest.mark.root

NETWORK = samples.production()
HERE, *OTHERS = sorted(node.id for node in NETWORK.nodes)
SERVE = """
import sys
from pathlib import Path
from mesh.glass.serve import serve
serve(*map(Path, sys.argv[1:]))
"""
Run = Callable[..., Any]


def listens() -> bool:
    """Whether the glass does."""
    try:
        socket.create_connection(("::1", NETWORK.port), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``mesh glass`` with these arguments, on a network of which one node's glass runs, without a
    BIRD."""
    folder = tmp_path_factory.mktemp("glass")
    (folder / "glass.json").write_bytes(to_json(NETWORK))
    (folder / "agent.json").write_text(json.dumps({"node": HERE}))
    _look(folder)
    names = ("glass.json", "agent.json", "snapshot.json", "bird.ctl")
    with (
        spaces("served", HERE) as (space,),
        pytest.MonkeyPatch.context() as patch,
        repeating(partial(_look, folder), 1),
    ):
        patch.setattr(glass_client, "TIMES", httpx.Timeout(PATIENCE))
        namespaces.ip(["link set lo up"], space)
        command = [sys.executable, "-c", SERVE, *(str(folder / name) for name in names)]
        process = inside(space, lambda: subprocess.Popen(command, cwd=ROOT))
        try:
            until(partial(inside, space, listens), 5, "the glass listens")
            fleet = dump_fleet(State(7, "0" * 64, Fleet().members()))
            operator = space.removesuffix(HERE) + "operator"
            state = stack_state(fleet, NETWORK.port, {}, operator)
            patch.setattr(glass_doors, "exported", lambda _: state)
            yield lambda *words: CliRunner().invoke(app, ["glass", *words, "--via", HERE])
        finally:
            process.kill()
            process.wait()


def _look(folder: Path) -> None:
    """A snapshot of now, as the agent writes one each second: an old one does not count."""
    new = folder / "snapshot.new"
    new.write_bytes(to_json(samples.snapshot(NETWORK, HERE, at=time.time())))
    new.rename(folder / "snapshot.json")


def test_the_nodes_are_shown_with_those_that_do_not_answer(run: Run) -> None:
    done = run("nodes")
    assert done.exit_code == 1
    row = next(line.split() for line in done.stdout.splitlines() if line.startswith(HERE))
    assert row[1:3] == ["applied", "42"]
    assert all(f"{node}: " in done.stdout for node in OTHERS)
    assert done.stderr == f"asked at {HERE}; answered: {HERE}\n"


def test_a_node_without_a_bird_says_so(run: Run) -> None:
    done = run("route", "8.8.8.8", "--node", HERE)
    assert done.exit_code == 1
    assert f"{HERE}: BIRD does not run" in done.stdout


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no address": (("route", "x"), "for = x: is neither an address nor a prefix; "),
    "a zone": (("route", "fe80::1%eth0"), "for = fe80::1%eth0: has a zone; "),
    "another parameter": (
        ("route", "8.8.8.8&here=1"),
        "for = 8.8.8.8&here=1: is neither an address",
    ),
    "a line": (
        ("route", "8.8.8.8\nshow status"),
        "for = 8.8.8.8 show status: is neither an address",
    ),
    "4 kB": (("route", "1" * 4096), "query = "),
    "a reason": (("refused", "--reason", "99"), "reason = 99: is no reason of the list; "),
    "a session": (("refused", "--session", "x"), "session = x: is no session of the plan there; "),
    "a node": (("way", HERE, "x"), "to = x: is no node of the plan; "),
    "a service": (("service", "nothing"), "service = nothing: is no service of the plan; "),
}


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_a_question_that_it_does_not_take_ends_with_the_cure(
    run: Run, words: tuple[str, ...], said: str
) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {said}")
