"""How the operator waits here."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture(autouse=True)
def registries_are_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of tests obey at once, and whoever waits for them is to see it."""
    for name in ("blackhole", "drain", "order_log", "preparation", "publish", "rollout", "stages"):
        monkeypatch.setattr(import_module(f"mesh.publish.{name}"), "POLL", 0.05)


@pytest.fixture
def soon_steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated nodes whose sessions start anew are as before at once, one after the other. For
    how long they may not be is left as it is: on a busy machine they speak late."""
    monkeypatch.setattr("mesh.publish.wave_effects.HOLDS", 0.5)
