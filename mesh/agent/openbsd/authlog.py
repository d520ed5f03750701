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


@dataclass(frozen=True, slots=True)
class AuthLog:
    """The log of a node. A place in it is the number of the file and bytes of it: after
    newsyslog(8) has begun another file, that is read from its start. Unlike systemd's journal it
    does not tell who has logged: any user of the node can write in sshd's name."""

    host: Host

    def after(self, cursor: str | None) -> tuple[Sequence[Login], str | None]:
        """The log-ins after a place, and the end of the log."""
        number, content = self._content()
        at = 0
        if cursor is not None:
            known, _, place = cursor.partition(":")
            if known == number and place.isdigit() and int(place) <= len(content):
                at = int(place)
        # A line that is being written is read next time.
        end = content.rfind(b"\n") + 1
        text = content[at:end].decode("utf-8", "replace")
        return list(_logins(text)), f"{number}:{max(at, end)}"

    def now(self) -> str:
        """The end of the log."""
        number, content = self._content()
        return f"{number}:{len(content)}"

    def _content(self) -> tuple[str, bytes]:
        try:
            number = self.host.path(PATH).stat().st_ino
            content = self.host.read(PATH)
        except OSError as error:
            why = error.strerror or error
            raise CommandFailed(f"{PATH}: {why}; see auth.info in /etc/syslog.conf") from None
        return str(number), content or b""

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
