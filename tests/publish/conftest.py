"""How the operator waits here."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture(autouse=True)
def registries_are_looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes of tests obey at once, and whoever waits for them is to see it."""
    for name in ("blackhole", "drain", "order_log", "preparation", "publish", "rollout", "stages"):
        monkeypatch.setattr(import_module(f"mesh.publish.{name}"), "POLL", 0.05)
