"""Log-ins by SSH, as sshd logs them in systemd's journal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Event
from typing import ClassVar

from pydantic import ConfigDict

from mesh.agent import access, file_paths, log
from mesh.agent.host import CommandFailed, Host
from mesh.agent.ruleset import Address
from mesh.trust.documents import MAX_LOGINS, Used
from mesh.trust.encoding import Malformed, dump, parse

# Before OpenSSH 9.8 (bookworm) sshd itself logs it, and sshd-session since then (trixie).
_IDENTIFIERS = ("sshd", "sshd-session", "sshd-auth")
_ACCEPTED = re.compile(
    r"Accepted (?P<method>\S+) for (?P<user>\S+) from (?P<source>\S+) port (?P<port>\d+) ssh2"
    r"(?:: (?P<kind>\S+) (?P<key>SHA256:\S+))?"
)
MAX_KEY = 64
MOST = "5000"
"""Lines of sshd that are read at once, the last ones: under attack it writes more."""


LOOK = 60.0
"""Seconds between two looks at who has logged in."""
_USAGE = f"{file_paths.STATE}/logins.json"


@dataclass(frozen=True, slots=True)
class StoredLogins:
    """The stored log-ins: all in sshd's log up to a cursor, empty for none."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    cursor: str
    used: tuple[Used, ...]


@dataclass(frozen=True, slots=True)
class Login:
    """A log-in: user, source, the key's fingerprint (empty if none was used), and ``when`` in
    seconds since the epoch."""

    user: str
    source: Address
    port: int
    key: str
    when: int


class Logins:
    """The log-ins in sshd's log after a cursor; None for the start of this boot."""

    def __init__(self, host: Host, cursor: str | None = None) -> None:
        self._host, self.cursor = host, cursor

    def new(self) -> list[Login]:
        """The log-ins since the last call. Raises :class:`CommandFailed`."""
        since = ("-b",) if self.cursor is None else (f"--after-cursor={self.cursor}",)
        identifiers = [option for name in _IDENTIFIERS for option in ("-t", name)]
        # Only root's messages: any user can log under sshd's name.
        text = self._host.must(
            "journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", "-n", MOST,
            *since, *identifiers, "_UID=0",
        )  # fmt: skip
        return list(self._read(text))

    def _read(self, text: str) -> Iterator[Login]:
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                self.cursor = entry["__CURSOR"]
                found = _ACCEPTED.match(entry["MESSAGE"])
                when = int(entry["__REALTIME_TIMESTAMP"]) // 10**6
                if found is not None:
                    source = plain(found["source"])
                    key = (found["key"] or "")[:MAX_KEY]
                    yield Login(found["user"], source, int(found["port"]), key, when)
            except (KeyError, TypeError, ValueError):
                continue


class LoginUse:
    """When each admin network and key was last used. It is stored on the disk; if that fails,
    systemd's journal is read again."""

    def __init__(self, host: Host, changed: Callable[[], None]) -> None:
        self._host, self._changed = host, changed
        self._kept = StoredLogins("", ())
        content = host.read(_USAGE)
        if content is not None:
            with suppress(Malformed):
                self._kept = parse(StoredLogins, content)
        self._known = content is not None

    @property
    def used(self) -> tuple[Used, ...] | None:
        """The networks and keys that were used, the last one first; None if unknown."""
        return self._kept.used if self._known else None

    def run(self, stop: Event) -> None:
        """Runs until ``stop`` is set."""
        while not stop.is_set():
            try:
                self._look()
            except (CommandFailed, OSError) as error:
                log.warning("log-ins", reason=error)
                # A new journal does not know the cursor.
                self._kept = StoredLogins("", self._kept.used)
            stop.wait(LOOK)

    def _look(self) -> None:
        logins = Logins(self._host, self._kept.cursor or None)
        found = logins.new()
        # Without a line of sshd there is no cursor, and nothing to store.
        if self._known and logins.cursor == (self._kept.cursor or None):
            return
        latest = {(one.network, one.key): one for one in self._kept.used}
        if found:
            networks = access.permitted(self._host)[0]
            mine = own(self._host)
            for login in found:
                if login.source.is_loopback or login.source in mine:
                    continue
                within = [net for net in networks if login.source in net]
                # If the firewall has changed since, the address alone is recorded.
                network = max(
                    within, key=lambda net: net.prefixlen, default=ip_network(login.source)
                )
                latest[network, login.key] = Used(network, login.key, max(1, login.when))
        used = sorted(latest.values(), key=lambda one: one.last, reverse=True)[:MAX_LOGINS]
        changed = tuple(used) != self._kept.used or not self._known
        self._kept, self._known = StoredLogins(logins.cursor or "", tuple(used)), True
        if changed:
            self._changed()
        with suppress(OSError):
            self._host.write(_USAGE, dump(self._kept), 0o600, flush=False)


def now(host: Host) -> str:
    """The cursor of the journal's last entry."""
    host.must("journalctl", "--sync")
    text = host.must("journalctl", "-q", "-n", "1", "-o", "json", "--output-fields=_PID")
    try:
        return str(json.loads(text.splitlines()[-1])["__CURSOR"])
    except (IndexError, KeyError, ValueError):
        raise CommandFailed("journalctl: the journal of systemd is empty") from None


def connections(host: Host, ports: tuple[int, ...]) -> frozenset[tuple[Address, int]]:
    """Connections to one of these ports, also half-open ones: remote address and port."""
    found: set[tuple[Address, int]] = set()
    for line in host.must("ss", "-H", "-t", "-n", "-a").splitlines():
        fields = line.split()
        if len(fields) < 5:
            continue
        here, there = (field.rpartition(":") for field in fields[3:5])
        if here[2].isdigit() and int(here[2]) in ports and there[2].isdigit():
            found.add((plain(there[0].strip("[]")), int(there[2])))
    return frozenset(found)


def own(host: Host) -> frozenset[Address]:
    """The node's own addresses."""
    links = json.loads(host.must("ip", "-json", "address", "show"))
    return frozenset(plain(a["local"]) for link in links for a in link.get("addr_info", []))


def plain(text: str) -> Address:
    """An address without its zone, and an IPv4-mapped one as IPv4."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
