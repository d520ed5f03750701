"""What an operator reads while a publication waits."""

from __future__ import annotations

import pytest

from mesh.publish.progress import ProgressLines


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock, to be set."""
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return clock


def test_a_wait_that_goes_on_is_said_again_with_its_seconds(now: list[float]) -> None:
    said: list[str] = []
    say = ProgressLines(said.append)
    for second in range(26):
        now[0] = 100.0 + second
        say.waiting("waiting for a registry: timed out")
    assert said == [
        "waiting for a registry: timed out",
        "waiting for a registry: timed out (10 s)",
        "waiting for a registry: timed out (20 s)",
    ]


def test_news_puts_the_repetition_off_and_a_warning_is_said_once(now: list[float]) -> None:
    said: list[str] = []
    say = ProgressLines(said.append)
    for second in range(18):
        now[0] = 100.0 + second
        say("mia-vultr-1: another certificate")
        say.waiting("1 of 4 joined" if second < 8 else "2 of 4 joined")
    assert said == ["mia-vultr-1: another certificate", "1 of 4 joined", "2 of 4 joined"]
