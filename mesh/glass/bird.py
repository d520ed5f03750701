"""Asks BIRD through its restricted control socket, within a budget.

BIRD writes a reply as it is read, and drops the rest when the connection is closed: to stop reading
is what bounds its work. Questions that go over a whole table are asked one at a time.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from mesh.bird.client import connect

T = TypeVar("T")
SECONDS, BYTES, LINES = 1.6, 512 << 10, 2000
"""What one question may cost, in all its commands: less than the two seconds for which another node
waits for the answer."""
KEPT = 10.0
"""Seconds for which the answer to a question over a whole table is kept."""
WAITING = 8
"""Questions over a whole table that wait at the same time, and answers that are kept."""
RECONFIGURED = 8004
"""BIRD stops going over a table when it is reconfigured."""
NO_ROUTE = 8001
_TAKEN = 900
"""Bytes of commands that BIRD takes before it has answered: above a thousand it hangs up."""
_LONGEST = 64 << 10
"""Bytes of a line: BIRD's are shorter."""


class NoAnswer(Exception):
    """Why BIRD gives no answer."""


class Busy(Exception):
    """Too many questions over whole tables wait already."""


@dataclass
class Budget:
    """What is left of the seconds, bytes and lines of a question."""

    seconds: float = SECONDS
    bytes: int = BYTES
    lines: int = LINES
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds

    @property
    def left(self) -> float:
        """Seconds until its end."""
        return self._end - time.monotonic()

    def part(self, of: int) -> Budget:
        """One of so many equal parts of its bytes and lines; the seconds are all that is left."""
        return Budget(max(self.left, 0.0), self.bytes // of, self.lines // of)


@dataclass(frozen=True, slots=True)
class Lines:
    """BIRD's lines with their codes. ``cut``: BIRD had more to say than the budget allows."""

    lines: tuple[tuple[int, str], ...]
    cut: bool = False

    @property
    def refusal(self) -> tuple[int, str] | None:
        """The code and the text with which BIRD refuses or ends a question; None without one, and
        where it has found nothing."""
        found = ((code, text) for code, text in self.lines if code >= 8000 and code != NO_ROUTE)
        return next(found, None)


class Conversation:
    """One connection to BIRD, on which times are seconds since the epoch. It is over once a reply
    is cut. ``covers``: ``show route for`` shows all that cover an address, as BIRD 3 does, and not
    the longest match alone."""

    def __init__(self, connection: socket.socket, budget: Budget) -> None:
        self._connection, self._budget = connection, budget
        self._buffer = bytearray()
        self._greeted = self._over = False
        connection.sendall(b'timeformat "%s"\n')
        greeting = self._read()
        self._greeted = True
        self._read()
        self.covers = any(text.startswith("BIRD 3.") for _, text in greeting.lines)

    def ask(self, command: str) -> Lines:
        """One command, and its reply as far as the budget goes."""
        return self.ask_all([command])[0]

    def ask_all(self, commands: Iterable[str]) -> list[Lines]:
        """Several commands, and their replies. They are sent together where they are short: each
        wait for BIRD's turn takes longer than BIRD does."""
        replies: list[Lines] = []
        for together in _together(commands):
            if not self._over:
                self._connection.settimeout(self._left())
                self._connection.sendall("".join(f"{each}\n" for each in together).encode("ascii"))
            for _ in together:
                replies.append(Lines((), cut=True) if self._over else self._read())
        return replies

    def _read(self) -> Lines:
        lines: list[tuple[int, str]] = []
        code = 0
        while True:
            raw = self._line()
            if raw is None:
                self._over = True
                return Lines(tuple(lines), cut=True)
            text = raw.decode("utf-8", "replace")
            if text[:4].isdigit() and text[4:5] in ("-", " "):
                code = int(text[:4])
                lines.append((code, text[5:]))
                if text[4] == " ":
                    return Lines(tuple(lines))
            elif text[:1] in (" ", "+"):
                lines.append((code, text[1:]))
            else:
                raise NoAnswer("BIRD answers in a way that this version does not know")

    def _line(self) -> bytes | None:
        """The next line; None where the budget is used up."""
        if self._budget.lines <= 0:
            return None
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST:
                raise NoAnswer("BIRD answers in a way that this version does not know")
            if self._budget.bytes <= 0 or not self._more():
                return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._budget.lines -= 1
        return line

    def _more(self) -> bool:
        """Reads what has come; False where nothing comes in time, from a BIRD that has answered
        before: it is busy with the question."""
        try:
            self._connection.settimeout(self._left())
            received = self._connection.recv(min(_LONGEST, self._budget.bytes))
        except TimeoutError:
            if self._greeted:
                return False
            raise
        if not received:
            raise NoAnswer("BIRD ended the connection")
        self._budget.bytes -= len(received)
        self._buffer += received
        return True

    def _left(self) -> float:
        if self._budget.left <= 0:
            raise TimeoutError
        return self._budget.left


def _together(commands: Iterable[str]) -> Iterator[list[str]]:
    """The same in groups that BIRD takes at once."""
    group: list[str] = []
    size = 0
    for command in commands:
        if group and size + len(command) >= _TAKEN:
            yield group
            group, size = [], 0
        group.append(command)
        size += len(command) + 1
    if group:
        yield group


class Control:
    """BIRD's restricted control socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def asking(self, budget: Budget) -> Iterator[Conversation]:
        """A connection. Raises :class:`NoAnswer`."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(max(budget.left, 0.001))
                connect(connection, self._path)
                yield Conversation(connection, budget)
        except FileNotFoundError:
            raise NoAnswer("BIRD does not run, or has no socket for the looking glass") from None
        except ConnectionRefusedError:
            raise NoAnswer("BIRD does not run") from None
        except PermissionError:
            raise NoAnswer("the looking glass may not ask BIRD") from None
        except (TimeoutError, BlockingIOError):
            # BlockingIOError: the socket's queue of connections is full.
            raise NoAnswer(f"BIRD runs, and does not answer within {SECONDS:g} s") from None
        except OSError as error:
            raise NoAnswer(f"BIRD: {error.strerror or error}") from None


class Walks(Generic[T]):
    """Answers to questions over whole tables: one is asked at a time, equal ones wait for it, and
    what was answered is kept for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, kept: float = KEPT) -> None:
        self._clock, self._kept = clock, kept
        self._turn = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._answers: dict[str, tuple[float, T]] = {}

    def answer(self, question: str, ask: Callable[[], T], seconds: float = SECONDS) -> T:
        """The answer that is kept, or that ``ask`` gives. Raises :class:`Busy`, where it is not
        this one's turn within that many seconds."""
        if not self._waiting.acquire(blocking=False):
            raise Busy
        try:
            if not self._turn.acquire(timeout=max(seconds, 0.0)):
                raise Busy
            try:
                return self._answer(question, ask)
            finally:
                self._turn.release()
        finally:
            self._waiting.release()

    def _answer(self, question: str, ask: Callable[[], T]) -> T:
        oldest = self._clock() - self._kept
        self._answers = {key: kept for key, kept in self._answers.items() if kept[0] > oldest}
        if question not in self._answers:
            while len(self._answers) >= WAITING:
                del self._answers[next(iter(self._answers))]
            answer = ask()
            self._answers[question] = (self._clock(), answer)
        return self._answers[question][1]
