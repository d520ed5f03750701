"""When a runner asks, and which daemons it watches by an idle connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise
from types import SimpleNamespace
from typing import Literal

import pytest

from mesh.agent import check_runner
from mesh.agent.check_runner import CheckRunner
from mesh.services.checks.check import HealthCheck, Target
from mesh.services.checks.http import HttpCheck
from mesh.services.checks.tcp import TcpCheck
from tests.kit.wait import PATIENCE, until

HERE = Target(IPv4Address("127.0.0.1"), "lax-vultr-1")
OK = b"HTTP/1.1 200 OK\r\n\r\n"
SEVERAL = 10


class Runs:
    """A runner that runs, and its answers, with times."""

    def __init__(self, check: HealthCheck, hurry: bool = True) -> None:
        self.answers: list[tuple[float, str]] = []
        self.seconds: list[float] = []
        self.warnings: list[str] = []
        self.hurry = hurry
        self._gone = threading.Event()
        gone, warned = self._gone.is_set, self.warnings.append
        self.runner = CheckRunner(check, HERE, self._answered, gone, warned)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self.runner.run, daemon=True)
        self._thread.start()

    def _answered(self, problem: str) -> bool:
        self.answers.append((time.monotonic(), problem))
        self.seconds.append(self.runner.seconds)
        return self.hurry

    @property
    def problems(self) -> list[str]:
        return [problem for _, problem in self.answers]

    def end(self) -> None:
        self._gone.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@contextmanager
def runs(check: HealthCheck, hurry: bool = True) -> Iterator[Runs]:
    made = Runs(check, hurry)
    try:
        yield made
    finally:
        made.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted(HealthCheck):
    """A check whose answers a test gives."""

    kind: Literal["scripted"] = "scripted"
    answer: Callable[[], str]

    @property
    def subject(self) -> str:
        return self.kind

    def problem(self, target: Target) -> str:
        return self.answer()

    def warning(self, target: Target) -> str:
        raise ValueError("no clock\x1b[31m")


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[float]]]:
    """Serves one connection at a time; its port, and when connections came."""
    times: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def loop() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    times.append(time.monotonic())
                    with connection, suppress(OSError):
                        serve(connection)

        threading.Thread(target=loop, daemon=True).start()
        yield listening.getsockname()[1], times
        listening.shutdown(socket.SHUT_RDWR)


def one_at_a_time(connection: socket.socket) -> None:
    if connection.recv(4096):
        connection.sendall(OK)


def impatient(connection: socket.socket) -> None:
    """Closes where nothing comes at once."""
    connection.settimeout(0.2)
    if connection.recv(4096):
        connection.sendall(OK)


@pytest.mark.parametrize(("serve", "timeout"), [(one_at_a_time, 1.0), (impatient, PATIENCE)])
def test_a_daemon_that_bears_no_idle_connection_gets_none_after_some(
    serve: Callable[[socket.socket], None], timeout: float
) -> None:
    """What comes of the connection itself is no miss."""
    check = HttpCheck(port=0, interval=0.2, timeout=timeout)
    with server(serve) as (port, times):
        object.__setattr__(check, "port", port)
        with runs(check) as made:
            until(lambda: len(made.answers) > SEVERAL, 10, "it is asked")
            before, connections = len(made.answers), len(times)
            until(lambda: len(made.answers) > before + SEVERAL, 10, "it is asked again")
            asked = len(made.answers) - before
            assert len(times) - connections <= asked + 1, "one connection for each question"
        problems = made.problems
    assert set(problems) == {""}


def test_a_daemon_that_sends_without_end_gets_no_idle_connection() -> None:
    """Reading what it sends would take the time for questions: it would be many times of what
    the kernel holds of a connection that nobody reads."""
    flooded: list[int] = []
    held = 10  # mebibytes: tcp_wmem has 4 at most, and tcp_rmem grows for who reads

    def flood(line: socket.socket) -> None:
        with line, suppress(OSError):
            while True:
                line.sendall(bytes(1 << 20))
                flooded.append(1 << 20)

    def talkative(connection: socket.socket) -> None:
        threading.Thread(target=flood, args=[connection.dup()], daemon=True).start()

    check = TcpCheck(port=0, interval=0.1, timeout=PATIENCE)
    with server(talkative) as (port, times):
        object.__setattr__(check, "port", port)
        with runs(check, hurry=False) as made:
            until(lambda: len(made.answers) > SEVERAL, 10, "it is asked")
            before, connections = len(flooded), len(times)
            until(lambda: len(made.answers) > 2 * SEVERAL, 10, "it is asked again")
        assert set(made.problems) == {""}
        # Those that were there before may be filled yet.
        assert len(flooded) - before <= held * (len(times) - connections + 1), "nobody reads that"


def looks(
    monkeypatch: pytest.MonkeyPatch, interval: float, said: Sequence[str], *, hurry: bool = True
) -> list[tuple[float, str]]:
    """The answers of a runner that gets these, with times by a clock that no other work delays."""
    now, left, answers = 0.0, list(said), list[tuple[float, str]]()

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def answered(problem: str) -> bool:
        answers.append((now, problem))
        return hurry

    clock = SimpleNamespace(monotonic=lambda: now, sleep=sleep)
    monkeypatch.setattr(check_runner, "time", clock)
    check = Scripted(interval=interval, answer=lambda: left.pop(0))
    CheckRunner(check, HERE, answered, lambda: len(answers) == len(said)).run()  # type: ignore[arg-type]
    return answers


def test_a_second_look_follows_a_change_and_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = looks(monkeypatch, 2.0, ["", "", *["broken"] * 3])
    (_, second), (first_miss, _), (second_miss, _), (third_miss, _) = answers[1:5]
    assert (second, [problem for _, problem in answers[2:5]]) == ("", ["broken"] * 3)
    assert second_miss - first_miss < 2.0 <= third_miss - second_miss + 0.01


def test_without_a_wish_for_it_no_look_comes_early(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [when for when, _ in looks(monkeypatch, 0.3, ["broken"] * 4, hurry=False)]
    assert all(b - a > 0.25 for a, b in pairwise(times))


@pytest.mark.parametrize(("late", "counted"), [(2, [""]), (3, ["no answer"])])
def test_a_look_that_this_machine_has_delayed_is_repeated_some_times(
    monkeypatch: pytest.MonkeyPatch, late: int, counted: list[str]
) -> None:
    """It ends long after its time: whoever asks was not there when the answer came."""
    begun: list[float] = []

    def answer() -> str:
        begun.append(time.monotonic())
        if len(begun) > late:
            return ""
        until(lambda: time.monotonic() - begun[-1] > 0.1 + 2 * check_runner.LATE, 1, "it is late")
        return "no answer"

    with runs(Scripted(interval=0.1, answer=answer), hurry=False) as made:
        until(lambda: made.answers, 10, "it is asked")
    assert made.problems[:1] == counted


def test_a_check_that_fails_by_itself_says_so_and_goes_on() -> None:
    def answer() -> str:
        raise ValueError("no such\x1b[31m thing")

    with runs(Scripted(interval=0.1, answer=answer)) as made:
        until(lambda: len(made.answers) > 2, 10, "it is asked")
    assert set(made.problems) == {"the check itself fails: ValueError: no such thing"}


def test_a_warning_is_asked_for_seldom_and_fails_nothing() -> None:
    with runs(Scripted(interval=0.1, answer=lambda: "")) as made:
        until(lambda: len(made.answers) > SEVERAL, 10, "it is asked")
    assert made.warnings == ["the check itself fails: ValueError: no clock"]
    assert set(made.problems) == {""}


def test_a_runner_says_how_long_the_last_look_took() -> None:
    def slow() -> str:
        time.sleep(0.1)
        return ""

    with runs(Scripted(answer=slow)) as made:
        until(lambda: len(made.answers) > 1, 10, "it is asked")
    assert all(0.1 <= seconds < PATIENCE for seconds in made.seconds)
