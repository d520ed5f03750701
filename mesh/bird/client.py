"""BIRD through its control socket."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from mesh.bird.protocols import sessions
from mesh.bird.reply import Reply, read

SAME_TIME = 1.5
"""Seconds by which BIRD's times and ours may differ for the same moment."""


class BirdError(Exception):
    """BIRD is not there, or refused."""


class NotRunning(BirdError):
    """Nobody listens on BIRD's control socket."""


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
                _connect(connection, self._control)
                with connection.makefile("rb") as replies:
                    read(replies)

                    def ask(command: str) -> Reply:
                        left = end - time.monotonic()
                        if left <= 0:
                            raise TimeoutError
                        connection.settimeout(left)
                        connection.sendall(command.encode("ascii") + b"\n")
                        return read(replies)

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


def _connect(connection: socket.socket, control: Path) -> None:
    """By way of the open folder, since the address of a socket has at most 107 characters
    (unix(7))."""
    folder = os.open(control.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{control.name}")
    finally:
        os.close(folder)


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
