"""A probe's arithmetic, and its words."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest

from mesh.lab import probe as probes
from mesh.lab.errors import LabError
from mesh.lab.probe import Request, checksum, duration, report
from mesh.lab.questions import Http
from tests.kit.wait import until


def asked(answers: str, interval: float = 0.01) -> list[Request]:
    """One question per letter: who answered, or a dot for nobody."""
    return [
        Request(number * interval, None if letter == "." else letter)
        for number, letter in enumerate(answers)
    ]


@pytest.mark.parametrize(
    ("answers", "answered", "gap"),
    [
        ("aaaa", 4, 0.0),
        ("a..a", 2, 30.0),  # last answered at 0 ms, first answered again at 30 ms
        ("a.a..a", 3, 30.0),
        ("..aa", 2, 20.0),  # from the first question
        ("aa..", 2, 20.0),  # to the last question
        ("....", 0, 30.0),
        ("", 0, 0.0),
    ],
)
def test_the_longest_gap_is_between_questions_that_were_answered(
    answers: str, answered: int, gap: float
) -> None:
    result = report(asked(answers))
    assert (result.sent, result.answered) == (len(answers), answered)
    assert result.longest_gap_ms == pytest.approx(gap)


def test_who_answered_and_from_when_on() -> None:
    result = report(asked("aa.bba"))
    assert result.by == {"a": 3, "b": 2}
    assert result.turns == ((0.0, "a"), (30.0, "b"), (50.0, "a"))


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("10s", 10), ("1.5s", 1.5), ("2m", 120), ("3", 3)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "0s", "ms", "-1s", "1h", "ten"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="write a positive number"):
        duration(text)


def test_the_checksum_is_that_of_rfc_1071() -> None:
    # Section 3's example: the sum of these words is ddf2.
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF


@pytest.fixture
def late() -> int:
    """Which answer comes after the deadline: none."""
    return 0


@pytest.fixture
def server(late: int) -> Iterator[Http]:
    """Answers whoever asks, at once but for one; the question to it."""
    asked: list[str] = []

    class Whoami(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            # Long enough for several questions to be under way at any moment.
            time.sleep(probes.DEADLINE + 3 * probes.PAUSE if len(asked) == late else 0.06)
            with suppress(ConnectionError):
                self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nhere")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Whoami) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield Http(serving.server_address[1])
        serving.shutdown()
        thread.join()


class Stop(threading.Event):
    """Ends the prober after so many questions, however long they take it, and holds it up once:
    before the tenth, for so many seconds."""

    def __init__(self, questions: int = 30, held_up: float = 0.0) -> None:
        super().__init__()
        self.questions, self._held_up, self._looks = questions, held_up, 0

    def is_set(self) -> bool:
        self._looks += 1
        if self._looks == 10:
            time.sleep(self._held_up)
        return self._looks > self.questions


@pytest.mark.parametrize("late", [3])
def test_an_answer_after_the_deadline_is_a_lost_one(server: Http) -> None:
    assert unanswered(server, Stop()) != [], "on a busy machine another may be late as well"


@pytest.mark.parametrize("share", [0.9, 0.97, 1.0, 1.03, 1.2])
def test_what_came_while_the_prober_had_no_processor_is_not_lost(
    server: Http, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """Also where it stands still for about as long as an answer may take, and some questions have
    not left yet."""
    ask = Http.ask

    async def in_a_moment(*arguments: Any) -> str | None:
        await asyncio.sleep(0.05)
        return await ask(*arguments)

    monkeypatch.setattr(Http, "ask", in_a_moment)

    def nothing_is_lost() -> bool:
        return unanswered(server, Stop(held_up=share * probes.DEADLINE)) == []

    # On a busy machine an answer may be late by itself, but not in each run.
    until(nothing_is_lost, 10, "a run in which nothing is lost")


def unanswered(question: Http, stop: Stop) -> list[int]:
    """Which of the questions, one in 20 ms, nobody answered."""
    questions = probes._requests(ip_address("127.0.0.1"), question, 0.02, 600.0, stop)
    assert len(questions) == stop.questions
    return [number for number, question in enumerate(questions) if question.by is None]
