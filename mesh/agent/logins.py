"""Log-ins by SSH, as sshd itself tells of them in the journal of systemd."""

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

# Before OpenSSH 9.8 (bookworm) sshd itself says it, and its session since then (trixie).
_SAYS = ("sshd", "sshd-session", "sshd-auth")
_ACCEPTED = re.compile(
    r"Accepted (?P<method>\S+) for (?P<user>\S+) from (?P<source>\S+) port (?P<port>\d+) ssh2"
    r"(?:: (?P<kind>\S+) (?P<key>SHA256:\S+))?"
)
MAX_KEY = 64
MOST = "5000"
"""Lines of sshd's that are read at once, the last ones: more are written where it is attacked."""


LOOK = 60.0
"""Seconds between two looks at who has logged in."""
_USAGE = f"{file_paths.STATE}/logins.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of log-ins: all that sshd has told up to a cursor, empty for nothing."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    cursor: str
    used: tuple[Used, ...]


@dataclass(frozen=True, slots=True)
class Login:
    """Who was let in: from where, by which key (its fingerprint; empty where it was none), and
    when, in seconds since the epoch."""

    user: str
    source: Address
    port: int
    key: str
    when: int


class Logins:
    """What sshd has told since a cursor; None for all that there is of this boot."""

    def __init__(self, host: Host, cursor: str | None = None) -> None:
        self._host, self.cursor = host, cursor

    def new(self) -> list[Login]:
        """The log-ins that were not told before. :class:`CommandFailed` where nobody can tell."""
        since = ("-b",) if self.cursor is None else (f"--after-cursor={self.cursor}",)
        said = [word for name in _SAYS for word in ("-t", name)]
        # What others than root write in sshd's name does not count.
        text = self._host.must(
            "journalctl", "-q", "-o", "json", "--output-fields=MESSAGE", "-n", MOST,
            *since, *said, "_UID=0",
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
    """When each way in was used last: a network of those that may log in, and a key. It is kept on
    the disk, which need not take it: the journal of systemd is asked again then."""

    def __init__(self, host: Host, changed: Callable[[], None]) -> None:
        self._host, self._changed = host, changed
        self._kept = Kept("", ())
        content = host.read(_USAGE)
        if content is not None:
            with suppress(Malformed):
                self._kept = parse(Kept, content)
        self._known = content is not None

    @property
    def used(self) -> tuple[Used, ...] | None:
        """The ways that were used, the last one first; None where nobody can tell."""
        return self._kept.used if self._known else None

    def run(self, stop: Event) -> None:
        """Works until ``stop`` is set."""
        while not stop.is_set():
            try:
                self._look()
            except (CommandFailed, OSError) as error:
                log.warning("log-ins", reason=error)
                # A journal that was lost does not know it any more.
                self._kept = Kept("", self._kept.used)
            stop.wait(LOOK)

    def _look(self) -> None:
        logins = Logins(self._host, self._kept.cursor or None)
        found = logins.new()
        # Without a word of sshd's there is no cursor, and nothing to keep.
        if self._known and logins.cursor == (self._kept.cursor or None):
            return
        latest = {(one.network, one.key): one for one in self._kept.used}
        if found:
            networks = access.ways_in(self._host)[0]
            mine = own(self._host)
            for login in found:
                if login.source.is_loopback or login.source in mine:
                    continue
                within = [net for net in networks if login.source in net]
                # Where the firewall is another by now, the address stands for itself.
                network = max(
                    within, key=lambda net: net.prefixlen, default=ip_network(login.source)
                )
                latest[network, login.key] = Used(network, login.key, max(1, login.when))
        used = sorted(latest.values(), key=lambda one: one.last, reverse=True)[:MAX_LOGINS]
        changed = tuple(used) != self._kept.used or not self._known
        self._kept, self._known = Kept(logins.cursor or "", tuple(used)), True
        if changed:
            self._changed()
        with suppress(OSError):
            self._host.write(_USAGE, dump(self._kept), 0o600, flush=False)


def now(host: Host) -> str:
    """The cursor of what is said last: what is said from now on comes after it."""
    host.must("journalctl", "--sync")
    text = host.must("journalctl", "-q", "-n", "1", "-o", "json", "--output-fields=_PID")
    try:
        return str(json.loads(text.splitlines()[-1])["__CURSOR"])
    except (IndexError, KeyError, ValueError):
        raise CommandFailed("journalctl: the journal of systemd is empty") from None


def connections(host: Host, ports: tuple[int, ...]) -> frozenset[tuple[Address, int]]:
    """Who is connected to one of these ports, or about to be: address and port at the other end."""
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
    """The node's own addresses: who comes from there has come by no way in."""
    links = json.loads(host.must("ip", "-json", "address", "show"))
    return frozenset(plain(a["local"]) for link in links for a in link.get("addr_info", []))


def plain(text: str) -> Address:
    """An address without its zone, and as IPv4 where it is one in IPv6's clothes."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
