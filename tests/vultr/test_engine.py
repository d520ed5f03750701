"""The resources by the real engine: side by side, interrupted, refreshed."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.killpoints import Run
from tests.kit.clouds.deployment import deployment
from tests.kit.engine import Engine, until_none
from tests.kit.stacks import ROOT
from tests.kit.vultr_api import Fault, Knobs, Served, Vultr, answering
from tests.kit.vultr_api.faults import LOCKED
from tests.kit.vultr_api.stack import PROJECT, SECRETS, UP
from tests.kit.wait import repeating
from tests.vultr import objects

pytestmark = pytest.mark.engine

BOOT = 600.0
"""Seconds; nobody waits for so long."""


@contextmanager
def stack(folder: Path, served: Served, **given: Any) -> Iterator[Engine]:
    """A stack of ``tests/vultr/program``."""
    document = {f"resources:{key}": value for key, value in given.items()}
    with deployment(folder, document, [], SECRETS) as engine:
        project = PROJECT | {"main": str(ROOT / "tests/vultr/program")}
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(project))
        own = {**engine.environment, **served.environment}
        yield replace(engine, environment=own, program=folder)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with answering(Vultr(knobs=Knobs(page=2)), tmp_path / "tls") as served:
        yield served


def interrupted(engine: Engine, vultr: Vultr, number: signal.Signals, node: str) -> None:
    """An `up` that is interrupted, once, while it waits for this node's server and others."""
    vultr.knobs = replace(vultr.knobs, boot=BOOT)
    run = Run.of(engine)
    run.until(f"{node}: pending")
    begun = time.monotonic()
    run.process.send_signal(number)
    assert run.end() != 0
    assert time.monotonic() - begun < BOOT / 2
    assert "the run was interrupted while it waited" in engine.told()
    assert "Traceback" not in engine.told() + "".join(run.lines)
    until_none(engine, 20)
    vultr.knobs = replace(vultr.knobs, boot=0.0)


def judge(engine: Engine, vultr: Vultr, cities: int) -> None:
    """Everything is there once, and in the state."""
    held = vultr.holdings()
    assert (held["servers"], held["addresses"], held["groups"]) == (cities, cities, 1)
    known = {resource["id"] for resource in engine.resources() if "id" in resource}
    assert {*vultr.servers, *vultr.addresses, *vultr.groups, *vultr.keys} <= known


def refreshed_by_lists(engine: Engine, vultr: Vultr) -> None:
    """A refresh does not ask for each object, and finds nothing to do."""
    vultr.forget_calls()
    engine.run("refresh", "--yes", "--skip-preview", "--expect-no-changes")
    lists = {"/reserved-ips", "/ssh-keys", "/firewalls", "/instances"}
    assert {call.path for call in vultr.calls if not call.path.endswith("/rules")} == lists
    firsts = [call.path for call in vultr.calls if "cursor" not in call.query]
    assert len(firsts) <= 5 * len(set(firsts))


def test_an_interrupted_up_ends_and_the_next_one_goes_on(tmp_path: Path, served: Served) -> None:
    vultr = served.vultr
    with stack(tmp_path, served, cities=2) as engine:
        interrupted(engine, vultr, signal.SIGINT, "lax-vultr-1")
        begun = len(vultr.servers)
        engine.run(*UP)
        assert begun == 1
        judge(engine, vultr, cities=2)
        refreshed_by_lists(engine, vultr)


def test_a_smaller_plan_is_refused_by_the_preview_and_had_by_a_replacement(
    tmp_path: Path, served: Served
) -> None:
    vultr = served.vultr
    with stack(tmp_path, served, cities=1, plan="vc2-2c-4gb") as engine:
        engine.run(*UP)
        (before,) = vultr.servers
        engine.run("config", "set", "resources:plan", "vc2-1c-1gb")
        refused = engine.run("preview", check=False)
        assert refused.returncode
        assert "Vultr does not change a server of the plan vc2-2c-4gb to this one" in refused.told
        assert "`mesh replace lax-vultr-1` makes a new server" in refused.told
        assert "Traceback" not in refused.told
        (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith("-instance")]
        engine.run("preview", "--replace", urn)
        engine.run(*UP, "--replace", urn)
        (after,) = vultr.servers.values()
        assert after.id != before and after.plan == "vc2-1c-1gb"


def test_a_replacement_waits_for_a_locked_server_and_for_a_limit_that_counts_it(
    tmp_path: Path, served: Served
) -> None:
    """The engine deletes and makes it in one process."""
    vultr = served.vultr
    with stack(tmp_path, served, cities=1) as engine:
        engine.run(*UP)
        (before,) = vultr.servers
        vultr.fail(Fault("DELETE", "/instances/.*", LOCKED, times=2))
        vultr.quotas, vultr.knobs = {"monthly fee": 5}, replace(vultr.knobs, counted=math.inf)
        (urn,) = [r["urn"] for r in engine.resources() if r["urn"].endswith("-instance")]
        with repeating(partial(objects.counts_no_longer_once_it_refused, vultr), 0.05):
            done = engine.run(*UP, "--replace", urn)
        assert "lax-vultr-1: Vultr answers: Unable to destroy server" in done.told
        assert "the server just deleted may still count" in done.told
        (after,) = vultr.servers
        assert after != before


@pytest.mark.slow
def test_sigterm_too_with_more_servers_than_threads(tmp_path: Path, served: Served) -> None:
    vultr = served.vultr
    with stack(tmp_path, served, cities=6, together=True) as engine:
        interrupted(engine, vultr, signal.SIGTERM, "ord-vultr-2")
        begun = len(vultr.servers)
        engine.run(*UP)
        assert begun > 4
        judge(engine, vultr, cities=6)


@pytest.mark.slow
def test_a_hundred_nodes_are_refreshed_by_lists(tmp_path: Path, served: Served) -> None:
    vultr = served.vultr
    vultr.knobs = Knobs(page=500, rate=30)
    with stack(tmp_path, served, cities=100) as engine:
        engine.run(*UP)
        judge(engine, vultr, cities=100)
        assert 429 not in {call.status for call in vultr.calls}
        refreshed_by_lists(engine, vultr)
        assert len(vultr.calls) < 25
        assert 429 not in {call.status for call in vultr.calls}
        vultr.forget_calls()
        engine.run(*UP, "--expect-no-changes")
        assert not vultr.calls


@pytest.mark.slow
def test_four_cities_are_made_side_by_side(tmp_path: Path, served: Served) -> None:
    vultr = served.vultr
    vultr.knobs = Knobs(page=2, boot=1.0, ipv6=1.0)
    with stack(tmp_path, served, cities=4) as engine:
        begun = time.monotonic()
        engine.run(*UP)
        print(f"four cities in {time.monotonic() - begun:.1f} s with the engine's own start")
        judge(engine, vultr, cities=4)
