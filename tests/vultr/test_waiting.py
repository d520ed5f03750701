"""Waiting is bounded and shown, and ends when the engine is interrupted."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest

from mesh.infra.dynamic import cancellation
from mesh.infra.dynamic.vultr.account import account
from mesh.vultr import ApiError, connect, waiting
from mesh.vultr.waiting import Seen, until
from tests.vultr import objects
from tests.vultr_api import KEY, Knobs, Vultr, limited
from tests.vultr_api.faults import Fault


@pytest.fixture
def stopping() -> Iterator[None]:
    """Something interrupts this process after a while, as the engine does."""
    account()
    timer = threading.Timer(0.5, cancellation.interrupted.set)
    timer.start()
    yield
    timer.cancel()
    cancellation.interrupted.clear()


def test_what_is_waited_for_is_shown_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST", 0.01)
    monkeypatch.setattr(waiting, "LONGEST", 0.01)
    monkeypatch.setattr(waiting, "SHOWN", 0.3)
    end, said = time.monotonic() + 0.8, list[str]()

    def look() -> Seen[str]:
        return Seen("active", "it") if time.monotonic() > end else Seen("pending")

    assert until(look, "lax-vultr-1", 60, said.append) == "it"
    assert said[0] == "lax-vultr-1: pending"
    assert 1 <= len(said[1:]) <= 3
    assert all(re.fullmatch(r"lax-vultr-1: pending for \d+ s", line) for line in said[1:])


def test_looks_come_after_a_second_and_then_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "FIRST", 1.0)
    delays = waiting.delays()
    first = [next(delays) for _ in range(20)]
    assert first == sorted(first)
    assert first[0] == 1.0
    assert first[-1] == waiting.LONGEST


def test_what_never_comes_is_one_sentence() -> None:
    with pytest.raises(ApiError) as caught:
        until(lambda: Seen("pending"), "lax-vultr-1", 0.3, lambda _: None)
    assert "lax-vultr-1 = pending: it is not ready after 0 s (pending); run" in str(caught.value)


class TestInterrupted:
    """Within two seconds, whatever it is at; and the next run goes on from there."""

    @pytest.mark.usefixtures("stopping")
    def test_while_a_server_boots(self, vultr: Vultr) -> None:
        vultr.knobs = Knobs(boot=30)
        begun = time.monotonic()
        with pytest.raises(ApiError, match="interrupted while it waited") as caught:
            objects.instance()
        assert caught.value.kind == "stopped"
        assert time.monotonic() - begun < 4.5
        cancellation.interrupted.clear()
        (left,) = vultr.servers
        vultr.knobs = Knobs()
        assert objects.instance()[0] == left

    @pytest.mark.usefixtures("stopping")
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_while_a_request_hangs(self, vultr: Vultr, method: str) -> None:
        vultr.knobs = Knobs(latency=5)
        begun = time.monotonic()
        with connect(KEY) as client, pytest.raises(ApiError) as caught:
            client.send(method, "/account")
        assert caught.value.kind == "stopped"
        assert time.monotonic() - begun < 4.5

    @pytest.mark.usefixtures("stopping")
    def test_while_vultr_asks_to_wait(self, vultr: Vultr) -> None:
        vultr.fail(Fault("GET", "/account", limited(60), times=9))
        begun = time.monotonic()
        with connect(KEY) as client, pytest.raises(ApiError) as caught:
            client.account()
        assert caught.value.kind == "stopped"
        assert time.monotonic() - begun < 4.5
