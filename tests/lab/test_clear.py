"""A lab goes without a trace, however the run ended that made it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from mesh.lab.world import clear_world, raise_world
from mesh.plan import Plan
from tests.kit.stacks import ROOT
from tests.lab.conftest import Raised
from tests.lab.inspection import leftovers, pings
from tests.lab.speaker import PASSWORDS

pytestmark = pytest.mark.lab

RAISE = """
import sys
from mesh.lab.world import raise_world
from tests.kit.stacks import plan_of, prod
from mesh.lab.containers import start_node
world = raise_world(plan_of(prod()), sys.argv[1], {"vultr": "a-session-key"})
while True:
    start_node(sys.argv[1], "lax-vultr-1", world, f"#cloud-config\n# {id(object())}\n")
    start_node(sys.argv[1], "lax-vultr-1", world, "#cloud-config\n")
"""


@pytest.fixture
def name() -> Iterator[str]:
    """A lab of one test."""
    lab = f"test-gone-{os.getpid()}"
    clear_world(lab)
    yield lab
    clear_world(lab)


@pytest.mark.parametrize("seconds", [0.45, 0.6, 0.8, 1.2, 2.0, 2.1, 2.2, 2.3, 2.4])
def test_a_run_killed_at_any_moment_leaves_nothing_that_clearing_does_not_find(
    plan: Plan, name: str, seconds: float
) -> None:
    run = subprocess.Popen([sys.executable, "-c", RAISE, name], cwd=ROOT, env=dict(os.environ))
    time.sleep(seconds)  # the moment is what is tested
    run.kill()
    run.wait()
    clear_world(name)
    assert leftovers(name) == []


def test_a_killed_run_is_completed_by_the_next(plan: Plan, name: str) -> None:
    run = subprocess.Popen([sys.executable, "-c", RAISE, name], cwd=ROOT, env=dict(os.environ))
    time.sleep(0.6)  # the moment is what is tested
    run.kill()
    run.wait()
    raise_world(plan, name, PASSWORDS)
    clear_world(name)
    assert leftovers(name) == []


def test_clearing_is_repeatable_and_touches_no_other_lab(raised: Raised, name: str) -> None:
    assert name.startswith("test-")
    clear_world(name)
    clear_world(name)
    assert leftovers(raised.name) != []
    clients = raised.world.clients
    assert pings(raised.place, clients[0].box, clients[1].ipv4)
