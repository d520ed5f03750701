"""What of the SDK's own habits is left out."""

from __future__ import annotations

import gc

import pulumi
import pytest

from mesh.infra import sdk


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The debug lines that are sent to the engine."""
    lines: list[str] = []
    monkeypatch.setattr(pulumi.log, "debug", lines.append)
    return lines


def test_debug_lines_are_not_sent(told: list[str]) -> None:
    sdk.without_debug_lines()
    pulumi.log.debug("preparing a resource")
    assert told == []


def test_debug_lines_are_sent_where_they_are_asked_for(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sdk.VARIABLE, "1")
    sdk.without_debug_lines()
    pulumi.log.debug("preparing a resource")
    assert told == ["preparing a resource"]


def test_garbage_is_not_looked_for() -> None:
    was_enabled = gc.isenabled()
    try:
        gc.enable()
        sdk.without_collection()
        assert not gc.isenabled()
    finally:
        (gc.enable if was_enabled else gc.disable)()
