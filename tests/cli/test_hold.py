# ruff: noqa: F811  the fixture of another file
"""``mesh hold`` and ``mesh unhold``, and what `mesh status` says of them and of repairs."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.exits import ExitCode
from mesh.trust.documents import Health, Hold, Repair, Repairs
from mesh.trust.orders import HOLD
from tests.cli.test_drain import (  # noqa: F401
    FLEET,
    LAX,
    MIA,
    deployed,
    mesh,
    registry,
)
from tests.kit.nodes import Nodes, speaking
from tests.kit.registry import Live, holding


def ordered(live: Live) -> tuple[Hold, ...]:
    standing = live.registry.standing(HOLD)
    return () if standing is None else standing.order.holds


def test_a_node_is_held_shown_and_let_go_again(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry)):
        held = mesh("hold", MIA, "--for", "20m")
        also = mesh("hold", LAX)
        before = ordered(registry)
        shown, words = json.loads(mesh("status", "--json").stdout), mesh("status")
        ended = mesh("unhold", MIA)
        again = mesh("unhold", MIA)
    assert held.exit_code == also.exit_code == ended.exit_code == again.exit_code == 0, held.output
    assert f"hold order 1: {MIA} until 20" in held.stdout
    assert f"{MIA}: is held, after" in held.stdout
    times = {hold.node: hold.until - time.time() for hold in before}
    assert times.keys() == {MIA, LAX}
    assert 1100 < times[MIA] <= 1200 and 1700 < times[LAX] <= 1800, "half an hour unless said"
    assert shown["hold"] == 2 and shown["nodes"][MIA]["held"].startswith("20")
    assert f"{MIA}: held until 20" in words.stdout and words.exit_code == 0, words.output
    assert f"hold order 3: {MIA} no more" in ended.stdout
    assert again.stdout == f"{MIA}: is not held by order\n"
    assert [hold.node for hold in ordered(registry)] == [LAX]


@pytest.mark.parametrize("words", ["hold --for 30m", "unhold"])
def test_with_a_wrong_clock_nobody_is_held_and_nobody_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """The clock of the registry is hours ahead of ours."""
    monkeypatch.setattr(
        "uvicorn.server.formatdate", lambda now, **how: formatdate(now + 9000, **how)
    )
    with holding(tmp_path, FLEET) as one:
        deployed(monkeypatch, one.url)
        done = mesh(*words.split(), MIA, "--wait", "0")
        assert ordered(one) == ()
    text = " ".join(done.stderr.split())
    assert done.exit_code == ExitCode.UNUSABLE and "2 h behind the registries'" in text


@pytest.mark.parametrize("wrong", ["5h", "0m", "4d", "9s", "half an hour"])
def test_a_hold_is_for_four_hours_at_most(registry: Live, wrong: str) -> None:
    done = mesh("hold", MIA, "--for", wrong)
    assert done.exit_code == ExitCode.UNUSABLE and "is not between 10s and 4h" in " ".join(
        done.stderr.split()
    )
    assert ordered(registry) == ()


def test_a_node_that_is_none_is_not_held(registry: Live) -> None:
    done = mesh("hold", "fra-vultr-1")
    assert done.exit_code == ExitCode.UNUSABLE and "is no node of the stack" in " ".join(
        done.stderr.split()
    )


def test_who_does_not_hear_the_order_is_said(registry: Live) -> None:
    with speaking(Nodes(FLEET, registry, deaf={MIA})):
        done = mesh("hold", MIA, "--wait", "1")
    assert done.exit_code == ExitCode.FAILED and f"{MIA}: no report within 1 s" in done.stdout


def test_a_hold_by_a_command_on_the_node_is_told_with_how_to_end_it(registry: Live) -> None:
    def held(health: Health) -> Health:
        return replace(health, held=int(time.time()) + 600)

    with speaking(Nodes(FLEET, registry, bend={MIA: held})):
        done = mesh("unhold", MIA)
    assert done.exit_code == ExitCode.FAILED
    assert f"{MIA}: is held until 20" in done.stdout and "bundle.pyz unhold" in done.stdout


def test_repairs_are_shown_and_a_fight_is_a_problem(registry: Live) -> None:
    now = int(time.time())
    once = Repair("address 10.10.10.2 on dummy0", "is missing", 1, now)
    fought = Repair("firewall", "table inet mesh is missing", 9, now, "dockerd (process 7)")
    left = Repair("unit bird.service", "does not run", 3, now, stopped=True)

    def repairing(*objects: Repair) -> dict[str, Any]:
        bend = {MIA: lambda health: replace(health, repairs=Repairs(13, objects))}
        with speaking(Nodes(FLEET, registry, bend=bend)):
            done = mesh("status", "--json")
            text = mesh("status").stdout
        return {**json.loads(done.stdout), "code": done.exit_code, "text": text}

    quiet = repairing(once)
    assert (quiet["code"], quiet["problems"]) == (0, [])
    assert f"{MIA}: repaired in the last ten minutes: {once.what} (is missing)" in quiet["text"]
    vain = repairing(once, Repair("unit bird.service", "does not run", 0, now))
    assert f"{MIA}: repaired in vain in the last ten minutes: unit bird.service" in vain["text"]
    loud = repairing(fought, left, once)
    assert loud["code"] == 1 and loud["problems"] == [
        f"{MIA}: firewall does not stay as in the generation, changed by dockerd (process 7) "
        f"(table inet mesh is missing): was put right 9 times in 10 min",
        f"{MIA}: unit bird.service does not stay as in the generation (does not run): is left "
        f"alone now",
    ]
