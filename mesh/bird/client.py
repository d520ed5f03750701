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

from mesh.bird.protocols import export_has_begun, sessions
from mesh.bird.reply import Reply, read

_LONGEST_PATH = 103
SAME_TIME = 1.5
"""Seconds by which BIRD's times and ours may differ for the same event."""


class BirdError(Exception):
    """BIRD does not run, does not answer, or refuses a command."""


class NotRunning(BirdError):
    """No process listens on BIRD's control socket."""


Ask = Callable[[str], Reply]


class Bird:
    """One BIRD. Hold ``changing`` to reconfigure it."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self.changing = threading.RLock()
        self.on_trial = False
        """Whether a generation is in force and not confirmed yet. A plain ``configure`` ends the
        undo timer, and only the agent can go back from there: for an order, not for a retry."""
        self._read: float | None = None
        """When BIRD last read its configuration at our request, or when we first looked (monotonic
        seconds)."""

    def ask(self, command: str, timeout: float = 10.0) -> Reply:
        """One command and its whole reply."""
        with self.asking(timeout) as ask:
            return ask(command)

    @contextmanager
    def asking(self, timeout: float = 10.0) -> Iterator[Ask]:
        """One connection for several commands. ``timeout`` is seconds for all of them together.
        Raises :class:`BirdError` if BIRD does not run, or has not answered by then."""
        end = time.monotonic() + timeout
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout)
                connect(connection, self._control)
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
            # BlockingIOError: the socket's queue of connections is full.
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
        # A reconfiguration that is queued is read a moment later.
        self._read = time.monotonic()

    def reload_in(self, names: str) -> None:
        """Requests a route refresh (RFC 2918) on the sessions whose names match, and applies the
        import policy to each route again. BIRD 3 has another name for the command."""
        if self.ask(f'reload in "{names}"').error is not None:
            self.ask(f'reload filters in "{names}"')

    def reload_out(self, names: str) -> None:
        """Applies the export policy to each route again, on protocols whose names match. BIRD 3
        does so by itself, and has no such command."""
        self.ask(f'reload out "{names}"')

    def read_by_others(self) -> str:
        """When BIRD last read its configuration, as BIRD prints the time, if that was not at our
        request. Empty if it was, or if BIRD has started since: at its start it reads the files in
        place."""
        # The answer may come late; BIRD's time in it is no earlier than this.
        asked = time.monotonic()
        with self.asking(timeout=3.0) as ask:
            status = ask("show status")
        ages = _ages(status)
        if ages is None:
            return ""
        started, read, printed = ages
        if self._read is None:
            self._read = time.monotonic()
        return printed if asked - read > max(self._read, asked - started) + SAME_TIME else ""

    def confirm(self) -> None:
        """Keeps the configuration of ``configure(undo_after)``."""
        refusal = self.ask("configure confirm").error
        if refusal is not None:
            raise BirdError(f"bird: {refusal}")

    def wait(self, seconds: float = 10.0) -> None:
        """Waits until BIRD answers: systemd reports it as started before its control socket is
        there."""
        end = time.monotonic() + seconds
        while not self.answers():
            if time.monotonic() > end:
                raise BirdError(f"bird: started, and does not answer within {seconds:g} s")
            time.sleep(0.05)

    def wait_for_kernel(self, seconds: float = 5.0) -> None:
        """Waits until the kernel protocols export, or until the time is over. Those of BIRD 3 begin
        once they have scanned the kernel's table, a second after they start. BIRD 3.1.8 ends with
        SIGSEGV where a reconfiguration changes their export policy before that."""
        end = time.monotonic() + seconds
        while not export_has_begun(self.ask('show protocols all "kernel*"')):
            if time.monotonic() > end:
                return
            time.sleep(0.05)

    def answers(self, timeout: float = 10.0) -> bool:
        """Whether BIRD answers within that many seconds."""
        try:
            return self.ask("show status", timeout).error is None
        except BirdError:
            return False

    def sessions(self) -> dict[str, str]:
        """The state of each BGP session by name, as BIRD prints it."""
        return {name: one.state for name, one in sessions(self.ask("show protocols")).items()}


def connect(connection: socket.socket, control: Path) -> None:
    """Connects to a control socket. A long path is shortened to one through its open folder, which
    Linux can: a socket's address has at most 107 characters there (unix(7)), and 103 on OpenBSD
    (unix(4))."""
    if len(os.fsencode(control)) <= _LONGEST_PATH:
        connection.connect(str(control))
        return
    folder = os.open(control.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{control.name}")
    finally:
        os.close(folder)


def _ages(status: Reply) -> tuple[float, float, str] | None:
    """Seconds since BIRD started, seconds since it read its configuration, and that time as BIRD
    prints it; None if the reply does not contain them. BIRD's times follow the machine's clock when
    that is set; their differences do not."""
    found = {"Current server time is ": "", "Last reboot on ": "", "Last reconfiguration on ": ""}
    for _, text in status.lines:
        for label in found:
            if text.startswith(label):
                found[label] = text.removeprefix(label)
    try:
        now, started, read = (datetime.fromisoformat(value) for value in found.values())
    except ValueError:
        return None
    ages = ((now - started).total_seconds(), (now - read).total_seconds())
    return (*ages, found["Last reconfiguration on "])
