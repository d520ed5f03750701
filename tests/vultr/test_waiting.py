"""Waiting is bounded and shown, and ends when the engine is interrupted."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from mesh.infra.dynamic import cancellation
from mesh.infra.dynamic.vultr.account import account
from mesh.infra.providers.vultr.v2 import ApiError, connect, waiting
from mesh.infra.providers.vultr.v2.waiting import Observed, until
from tests.kit.vultr_api import KEY, Knobs, Vultr, limited
from tests.kit.vultr_api.faults import Fault
from tests.kit.wait import PATIENCE
from tests.kit.wait import until as until_true
from tests.vultr import objects

Stopping = Callable[[Callable[[], bool]], None]


@pytest.fixture
def stopping() -> Iterator[Stopping]:
    """Something interrupts this process, as the engine does, half a second after that holds."""
    account()
    over, threads = threading.Event(), list[threading.Thread]()

    def when(holds: Callable[[], bool]) -> None:
        def stop() -> None:
            while not holds():
                if over.wait(0.05):
                    return
            if not over.wait(0.5):
                cancellation.interrupted.set()

        threads.append(threading.Thread(target=stop))
        threads[-1].start()

    yield when
    over.set()
    for thread in threads:
        thread.join()
    cancellation.interrupted.clear()


def running() -> set[str]:
    """The names of this process's threads."""
    return {thread.name for thread in threading.enumerate()}


class Clock:
    """Time that passes while somebody waits, and only then."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def pause(self, seconds: float, _what: str) -> None:
        self.now += seconds


def test_what_is_waited_for_is_shown_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(), list[str]()
    monkeypatch.setattr(waiting, "time", clock)
    monkeypatch.setattr(waiting, "pause", clock.pause)

    def look() -> Observed[str]:
        return Observed("active", "it") if clock.now > 2.9 * waiting.SHOWN else Observed("pending")

    assert until(look, "lax-vultr-1", 60, said.append) == "it"
    assert said[0] == "lax-vultr-1: pending"
    assert len(said[1:]) == 2
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
        until(lambda: Observed("pending"), "lax-vultr-1", 0.3, lambda _: None)
    assert "lax-vultr-1 = pending: it is not ready after 0 s (pending); run" in str(caught.value)


class TestInterrupted:
    """At once, whatever it is at; and the next run goes on from there."""

    def test_while_a_server_boots(self, vultr: Vultr, stopping: Stopping) -> None:
        vultr.knobs = Knobs(boot=30 * PATIENCE)
        begun = time.monotonic()
        stopping(lambda: bool(vultr.servers))
        with pytest.raises(ApiError, match="interrupted while it waited") as caught:
            objects.instance()
        assert caught.value.kind == "stopped"
        assert time.monotonic() - begun < PATIENCE
        cancellation.interrupted.clear()
        (left,) = vultr.servers
        vultr.knobs = Knobs()
        assert objects.instance()[0] == left

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_while_a_request_hangs(self, vultr: Vultr, stopping: Stopping, method: str) -> None:
        vultr.knobs = Knobs(latency=2 * PATIENCE)
        begun = time.monotonic()
        stopping(lambda: vultr.asked > 0)
        with connect(KEY) as client, pytest.raises(ApiError) as caught:
            client.send(method, "/account")
        assert caught.value.kind == "stopped"
        assert time.monotonic() - begun < PATIENCE

    def test_a_request_that_is_left_behind_reads_from_nobody_elses_connection(
        self, vultr: Vultr, stopping: Stopping
    ) -> None:
        """Its descriptor would be that of the next connection, were it closed under it."""
        left = threading.Event()

        def answer_late() -> None:
            left.wait(PATIENCE)

        vultr.stop_at("GET /account/bgp", answer_late, "on")
        stopping(lambda: vultr.asked > 0)
        with connect(KEY) as client, pytest.raises(ApiError):
            client.bgp()
        with ExitStack() as held:
            pairs = [map(held.enter_context, socket.socketpair()) for _ in range(20)]
            ends = [(here, there) for here, there in pairs]
            for here, there in ends:
                here.send(bytes(100))
                there.send(bytes(100))
            left.set()
            until_true(lambda: "GET /account/bgp" not in running(), 5, "it has its answer")
            read = [end.recv(200, socket.MSG_DONTWAIT) for pair in ends for end in pair]
        assert read == [bytes(100)] * 40

    def test_while_vultr_asks_to_wait(self, vultr: Vultr, stopping: Stopping) -> None:
        vultr.fail(Fault("GET", "/account", limited(60), times=9))
        begun = time.monotonic()
        stopping(lambda: vultr.asked > 0)
        with connect(KEY) as client, pytest.raises(ApiError) as caught:
            client.account()
        assert caught.value.kind == "stopped"
        assert time.monotonic() - begun < PATIENCE
