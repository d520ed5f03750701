"""Nodes that updates in waves are given to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.plan.waves import Touch
from mesh.publish import rollout as rollout_module
from mesh.publish import schedule as schedule_module
from mesh.publish import wave_effects
from tests.kit.registry import holding
from tests.kit.rollouts import RolloutNodes, living
from tests.kit.wait import PATIENCE
from tests.publish.rollout.updates import FLEET, NODES


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[RolloutNodes]:
    """Nodes that have generation 5 in force."""
    with holding(tmp_path, FLEET) as registry, living(RolloutNodes(FLEET, registry)) as found:
        yield found


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated nodes show all effects at once. On a busy machine their reports are late, and nodes
    that report are waited for."""
    monkeypatch.setattr(wave_effects, "SETTLES", PATIENCE)
    monkeypatch.setattr(wave_effects, "HOLDS", 0.5)
    monkeypatch.setattr(wave_effects, "UNHEARD", PATIENCE)
    monkeypatch.setattr(rollout_module, "BASELINE", PATIENCE)
    monkeypatch.setattr(rollout_module, "AFTERMATH", 0.5)
    monkeypatch.setattr(rollout_module, "FOLLOW_SECONDS", PATIENCE)


@pytest.fixture
def harmful(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is worse stays so: that it comes right is waited for in vain. Nothing restarts."""
    monkeypatch.setattr(wave_effects, "SETTLES", 0.5)
    monkeypatch.setattr(wave_effects, "HOLDS", PATIENCE)


@pytest.fixture
def unwitnessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is off, and examines no other: that is waited for in vain."""
    monkeypatch.setattr(wave_effects, "UNHEARD", 0.5)
    monkeypatch.setattr(rollout_module, "BASELINE", 0.5)


@pytest.fixture
def touches(monkeypatch: pytest.MonkeyPatch) -> dict[str, Touch]:
    """What a generation changes at the nodes: something that restarts nothing, by default."""
    found = {node: Touch(True) for node in NODES}
    monkeypatch.setattr(schedule_module, "touched", lambda *_: dict(found))
    return found
