"""No thread of an agent ends unseen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.agent import workers as module
from mesh.agent.workers import Workers
from tests.kit.wait import until


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.05))
    one = threading.Event()
    yield one
    one.set()


def wait(stop: threading.Event) -> None:
    stop.wait()


def test_what_fails_is_begun_again_and_told_for_a_while(
    stop: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[None] = []

    def work() -> None:
        tries.append(None)
        if len(tries) < 3:
            raise KeyError("a\x1b[2Jb")
        stop.wait()

    news = threading.Event()
    workers = Workers(stop, news.set)
    workers.start("work", work)
    until(lambda: len(tries) == 3, 5, "it is tried until it goes well")
    assert workers.alive
    assert news.is_set()
    assert workers.failures == {"work": r"KeyError: 'a\x1b[2Jb'"}
    told = [line.message for line in caplog.records if line.threadName == "work"]
    assert [each.split()[0] for each in told] == ["thread-failed"] * 2
    monkeypatch.setattr(module, "REPORTED", 0.0)
    assert workers.failures == {}


def test_lasting_work_that_is_over_counts_as_dead_and_other_work_does_not(
    stop: threading.Event,
) -> None:
    workers = Workers(stop)
    workers.start("over", lambda: None, lasting=False)
    workers.start("lasts", lambda: wait(stop))
    assert workers.alive
    workers.start("over too soon", lambda: None)
    until(lambda: not workers.alive, 5, "it is seen")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_not_even_the_end_of_an_interpreter_in_a_thread_goes_unseen(stop: threading.Event) -> None:
    workers = Workers(stop)

    def work() -> None:
        raise SystemExit

    workers.start("exits", work)
    until(lambda: not workers.alive, 5, "it is seen")


def test_threads_have_their_names_in_the_kernel(stop: threading.Event) -> None:
    names: list[str] = []

    def work() -> None:
        task = Path(f"/proc/self/task/{threading.get_native_id()}")
        names.append((task / "comm").read_text())

    Workers(stop).start("check of a service", work, lasting=False)
    until(lambda: names, 5, "the thread has run")
    assert names == ["check of a serv\n"]
