"""BIRD through its control socket (``doc/reply_codes`` in its sources)."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass
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


class _Lines(Protocol):
    def readline(self, limit: int, /) -> bytes: ...


class BirdError(Exception):
    """BIRD is not there, or refused."""


@dataclass(frozen=True, slots=True)
class Reply:
    """BIRD's lines, each with its code."""

    lines: tuple[tuple[int, str], ...]

    @property
    def error(self) -> str | None:
        """BIRD's words where it refused (codes 8xxx and 9xxx)."""
        return next((text for code, text in self.lines if code >= 8000), None)


class Bird:
    """One BIRD. ``changing`` is held by whoever reconfigures it: a plain ``configure`` while an
    undo timer runs would make the unconfirmed configuration the confirmed one."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self.changing = threading.RLock()

    def ask(self, command: str, timeout: float = 10.0) -> Reply:
        """One command and its whole reply."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout)
                connection.connect(str(self._control))
                file = connection.makefile("rwb")
                _reply(file)
                file.write(command.encode("ascii") + b"\n")
                file.flush()
                return _reply(file)
        except (OSError, ValueError) as error:
            raise BirdError(f"bird: {error}") from None

    def configure(self, undo_after: int | None = None) -> None:
        """Reads the configuration again; with ``undo_after`` seconds BIRD goes back by itself
        unless :meth:`confirm` follows."""
        command = "configure" if undo_after is None else f"configure timeout {undo_after}"
        refusal = self.ask(command).error
        if refusal is not None:
            raise BirdError(f"bird: {refusal}")

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

    def answers(self) -> bool:
        """Whether BIRD is up and talks."""
        try:
            return self.ask("show status").error is None
        except BirdError:
            return False

    def sessions(self) -> dict[str, str]:
        """BGP sessions by name, with their state in BIRD's words."""
        found: dict[str, str] = {}
        for code, text in self.ask("show protocols").lines:
            fields = text.split()
            if code == 1002 and len(fields) > 3 and fields[1] == "BGP":
                words = [word.rstrip(":") for word in fields[4:]]
                state = next((word for word in words if word in _SESSION_STATES), fields[3])
                found[fields[0]] = state
        return found


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
