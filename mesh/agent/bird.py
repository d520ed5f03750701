"""BIRD through its control socket (``doc/reply_codes`` in its sources)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Protocol

_SESSION_STATES = (
    "Established",
    "OpenConfirm",
    "OpenSent",
    "Connect",
    "Active",
    "Idle",
    "Passive",
    "Close",
    "Down",
)
_LIMIT = 8 << 20
SAME_TIME = 1.5
"""Seconds by which BIRD's times and ours may differ for the same moment."""


class _Lines(Protocol):
    def readline(self, limit: int, /) -> bytes: ...


class BirdError(Exception):
    """BIRD is not there, or refused."""


class NotRunning(BirdError):
    """Nobody listens on BIRD's control socket."""


@dataclass(frozen=True, slots=True)
class Reply:
    """BIRD's lines, each with its code."""

    lines: tuple[tuple[int, str], ...]

    @property
    def error(self) -> str | None:
        """BIRD's words where it refused (codes 8xxx and 9xxx)."""
        return next((text for code, text in self.lines if code >= 8000), None)


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP session in BIRD's words: its state, since when (a time of today, or a date), and the
    last error, empty where there is none."""

    state: str
    since: str
    error: str


Ask = Callable[[str], Reply]


class Bird:
    """One BIRD. ``changing`` is held by whoever reconfigures it: a plain ``configure`` while an
    undo timer runs would make the unconfirmed configuration the confirmed one."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self.changing = threading.RLock()
        self._read: float | None = None
        """When BIRD has read its configuration for us last, or was seen with one that it has read
        before (monotonic seconds)."""

    def ask(self, command: str, timeout: float = 10.0) -> Reply:
        """One command and its whole reply."""
        with self.asking(timeout) as ask:
            return ask(command)

    @contextmanager
    def asking(self, timeout: float = 10.0) -> Iterator[Ask]:
        """One connection for several commands. ``timeout`` is seconds for all of them together;
        :class:`BirdError` where BIRD is not there, or has not answered by then."""
        end = time.monotonic() + timeout
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self._control))
                file = connection.makefile("rwb")
                _reply(file)

                def ask(command: str) -> Reply:
                    left = end - time.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    connection.settimeout(left)
                    file.write(command.encode("ascii") + b"\n")
                    file.flush()
                    return _reply(file)

                yield ask
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning("bird: does not run: nobody listens on its control socket") from None
        except (TimeoutError, BlockingIOError):
            # The latter once its queue is full of those who have asked before.
            raise BirdError("bird: runs, and does not answer") from None
        except (OSError, ValueError) as error:
            raise BirdError(f"bird: {error}") from None

    def configure(self, undo_after: int | None = None) -> None:
        """Reads the configuration again; with ``undo_after`` seconds BIRD goes back by itself
        unless :meth:`confirm` follows."""
        command = "configure" if undo_after is None else f"configure timeout {undo_after}"
        refusal = self.ask(command).error
        if refusal is not None:
            raise BirdError(f"bird: {refusal}")
        # One that waits for another to end is read a moment later.
        self._read = time.monotonic()

    def reload_in(self, names: str) -> None:
        """Asks the neighbors of the sessions whose names match for their routes again (RFC 2918),
        and judges each anew. A session that is down has nothing to judge. BIRD 3 has another name
        for the command."""
        if self.ask(f'reload in "{names}"').error is not None:
            self.ask(f'reload filters in "{names}"')

    def read_by_others(self) -> str:
        """When BIRD has read its configuration last, in its own words, where that was not for us;
        empty where it was, or where it has been started since: what it reads then is in its
        place."""
        with self.asking(timeout=3.0) as ask:
            status = ask("show status")
        now = time.monotonic()
        ages = _ages(status)
        if ages is None:
            return ""
        started, read, words = ages
        if self._read is None:
            self._read = now
        return words if now - read > max(self._read, now - started) + SAME_TIME else ""

    def confirm(self) -> None:
        """Keeps what ``configure(undo_after)`` brought."""
        refusal = self.ask("configure confirm").error
        if refusal is not None:
            raise BirdError(f"bird: {refusal}")

    def wait(self, seconds: float = 10.0) -> None:
        """Until BIRD talks: systemd calls it started before it has its control socket."""
        end = time.monotonic() + seconds
        while not self.answers():
            if time.monotonic() > end:
                raise BirdError(f"bird: started, and silent for {seconds:g} s")
            time.sleep(0.05)

    def answers(self, timeout: float = 10.0) -> bool:
        """Whether BIRD is up and talks, within so many seconds."""
        try:
            return self.ask("show status", timeout).error is None
        except BirdError:
            return False

    def sessions(self) -> dict[str, str]:
        """BGP sessions by name, with their state in BIRD's words."""
        return {name: one.state for name, one in sessions(self.ask("show protocols")).items()}


def sessions(reply: Reply) -> dict[str, Session]:
    """The BGP sessions in the reply to ``show protocols``, by name.

    A line has name, ``BGP``, table, state of the protocol, since when, state of the session, and
    the last error (``bgp_get_status`` in BIRD's sources); a session that is shut down has no state
    of its own.
    """
    found: dict[str, Session] = {}
    for code, text in reply.lines:
        fields = text.split()
        if code != 1002 or len(fields) < 4 or fields[1] != "BGP":
            continue
        rest = [word.rstrip(":") for word in fields[4:]]
        at = next((n for n, word in enumerate(rest) if word in _SESSION_STATES), None)
        # Where no state is told, what follows the time is the error.
        words = fields[5:] if at is None else fields[5 + at :]
        found[fields[0]] = Session(
            fields[3] if at is None else rest[at], fields[4] if fields[4:] else "", " ".join(words)
        )
    return found


NO_SUCH_ROUTE = 8001
"""Of ``show route``: the table has no such route, or it is not among those asked for."""


def is_exported(ask: Ask, session: str, prefix: IPv4Network | IPv6Network) -> bool | None:
    """Whether BIRD has exported this prefix on a session; None where it does not say.

    ``exported`` asks for what BIRD has marked as handed to the session; ``export`` would ask what
    its filter would let pass, which is also so where a limit holds it back. Measured with 2.0.12,
    2.17.6 and 3.1.8. The prefix is looked up, so that a full table is not walked through.
    """
    reply = ask(f"show route {prefix} exported {session}")
    refusal = next((code for code, _ in reply.lines if code >= 8000), None)
    if refusal is not None:
        # Any other refusal, as for a session that has gone down since, says nothing.
        return False if refusal == NO_SUCH_ROUTE else None
    return any(code == 1007 and _network(text) == prefix for code, text in reply.lines)


def constant(ask: Ask, name: str) -> bool:
    """A constant of the configuration that BIRD runs by; False where it has none of that name. The
    files may say something else: BIRD may have refused them, or gone back. Measured with 2.0.12,
    2.17.6 and 3.1.8."""
    return any(code == 23 and text == "TRUE" for code, text in ask(f"eval {name}").lines)


def _ages(status: Reply) -> tuple[float, float, str] | None:
    """Seconds since BIRD was started, and since it has read the configuration that is in force, and
    when that was in its own words; None where it does not say. Its times follow the machine's clock
    whenever that is set, their differences do not."""
    found = {"Current server time is ": "", "Last reboot on ": "", "Last reconfiguration on ": ""}
    for _, text in status.lines:
        for words in found:
            if text.startswith(words):
                found[words] = text.removeprefix(words)
    try:
        now, started, read = (datetime.fromisoformat(words) for words in found.values())
    except ValueError:
        return None
    ages = ((now - started).total_seconds(), (now - read).total_seconds())
    return (*ages, found["Last reconfiguration on "])


def _network(line: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(line.split(maxsplit=1)[0])
    except (ValueError, IndexError):
        return None


def _reply(file: _Lines) -> Reply:
    """Lines ``NNNN-text`` until one that reads ``NNNN text``; a leading space repeats the code."""
    lines: list[tuple[int, str]] = []
    code, size = 0, 0
    while True:
        raw = file.readline(65536)
        size += len(raw)
        if not raw.endswith(b"\n") or size > _LIMIT:
            raise ValueError("its reply breaks off")
        text = raw.decode("utf-8", "replace").rstrip("\n")
        if text[:4].isdigit() and text[4:5] in ("-", " "):
            code = int(text[:4])
            lines.append((code, text[5:]))
            if text[4] == " ":
                return Reply(tuple(lines))
        else:
            lines.append((code, text[1:]))
