"""Log-ins in /var/log/authlog (syslog.conf(5)), and connections by netstat(1)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mesh.agent.host import CommandFailed, Host
from mesh.agent.logins import IDENTIFIERS, Login, accepted, plain
from mesh.agent.ruleset import Address

PATH = "/var/log/authlog"
_LINE = re.compile(
    rf"(?P<when>\w{{3}} [ \d]\d [\d:]{{8}}|\d{{4}}-\S+) \S+ (?:{'|'.join(IDENTIFIERS)})"
    r"\[\d+\]: (?P<message>.*)"
)
_ADDRESS = re.compile(r"\s+inet6? (\S+)")
_DAY = 86400.0
MOST = 1 << 22
"""Bytes that are read at once, the last ones: newsyslog(8) begins another file once a week, and
under attack sshd writes more."""


@dataclass(frozen=True, slots=True)
class AuthLog:
    """The log of a node. A place in it is the number of the file and bytes of it: after
    newsyslog(8) has begun another file, that is read from its start. Unlike systemd's journal it
    does not tell who has logged: any user of the node can write in sshd's name, syslog(3)."""

    host: Host
    is_forgeable: bool = True

    def after(self, cursor: str | None) -> tuple[Sequence[Login], str | None]:
        """The log-ins after a place, and the end of the log."""
        number, size = self._status()
        known, _, place = ("" if cursor is None else cursor).partition(":")
        at = int(place) if known == number and place.isdigit() and int(place) <= size else 0
        at = max(at, size - MOST)
        text = self._read(at, size)
        # A line that is being written is read next time.
        end = text.rfind(b"\n") + 1
        return list(_logins(text[:end].decode("utf-8", "replace"))), f"{number}:{at + end}"

    def now(self) -> str:
        """The end of the log."""
        number, size = self._status()
        return f"{number}:{size}"

    def _status(self) -> tuple[str, int]:
        """The number of the file, and its size."""
        try:
            found = self.host.path(PATH).stat()
        except OSError as error:
            raise _unread(error) from None
        return str(found.st_ino), found.st_size

    def _read(self, at: int, end: int) -> bytes:
        try:
            with self.host.path(PATH).open("rb") as file:
                file.seek(at)
                return file.read(end - at)
        except OSError as error:
            raise _unread(error) from None

    def connections(self, ports: tuple[int, ...]) -> frozenset[tuple[Address, int]]:
        """Connections to one of these ports: remote address and port. The kernel shows none before
        it is established."""
        found: set[tuple[Address, int]] = set()
        # With -v no address is cut short.
        for line in self.host.must("netstat", "-n", "-v", "-a", "-p", "tcp").splitlines():
            fields = line.split()
            if len(fields) < 5 or not fields[0].startswith("tcp"):
                continue
            here, there = (field.rpartition(".") for field in fields[3:5])
            if here[2].isdigit() and int(here[2]) in ports and there[2].isdigit():
                found.add((plain(there[0]), int(there[2])))
        return frozenset(found)

    def own(self) -> frozenset[Address]:
        """The node's own addresses."""
        text = self.host.must("ifconfig")
        return frozenset(
            plain(found[1]) for found in map(_ADDRESS.match, text.splitlines()) if found
        )


def _unread(error: OSError) -> CommandFailed:
    why = error.strerror or error
    return CommandFailed(f"{PATH}: {why}; see auth.info in /etc/syslog.conf")


def _logins(text: str) -> Iterator[Login]:
    for line in text.splitlines():
        match = _LINE.match(line)
        login = None if match is None else accepted(match["message"], _seconds(match["when"]))
        if login is not None:
            yield login


def _seconds(text: str) -> int:
    """Seconds since the epoch of a time in the log: as syslogd(8) writes it, in local time and
    without a year, or in full with its option -Z."""
    try:
        if text[0].isdigit():
            return int(datetime.fromisoformat(text).timestamp())
        now = time.time()
        year = time.localtime(now).tm_year
        when = time.mktime(time.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S"))
        if when > now + _DAY:
            when = time.mktime(time.strptime(f"{year - 1} {text}", "%Y %b %d %H:%M:%S"))
        return int(when)
    except ValueError:
        return 0
