"""Log-ins by SSH, as sshd logs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Event
from typing import ClassVar, Protocol

from pydantic import ConfigDict

from mesh.agent import file_paths, log
from mesh.agent.access import Access
from mesh.agent.host import CommandFailed, Host
from mesh.agent.ruleset import Address
from mesh.trust.documents import MAX_LOGINS, Used
from mesh.trust.encoding import Malformed, dump, parse

# Before OpenSSH 9.8 sshd itself logs it, and sshd-session since then.
IDENTIFIERS = ("sshd", "sshd-session", "sshd-auth")
"""The programs in whose name sshd logs."""
_ACCEPTED = re.compile(
    r"Accepted (?P<method>\S+) for (?P<user>\S+) from (?P<source>\S+) port (?P<port>\d+) ssh2"
    r"(?:: (?P<kind>\S+) (?P<key>SHA256:\S+))?"
)
MAX_KEY = 64
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


class LoginLog(Protocol):
    """What a system knows of log-ins. Methods raise :class:`CommandFailed`."""

    @property
    def is_forgeable(self) -> bool:
        """Whether any user of the node can write in sshd's name."""
        ...

    def after(self, cursor: str | None) -> tuple[Sequence[Login], str | None]:
        """The log-ins after a place of the log, and the place up to which it was read; None for the
        start of what there is."""
        ...

    def now(self) -> str:
        """The end of the log."""
        ...

    def connections(self, ports: tuple[int, ...]) -> frozenset[tuple[Address, int]]:
        """Connections to one of these ports: remote address and port."""
        ...

    def own(self) -> frozenset[Address]:
        """The node's own addresses."""
        ...


def accepted(message: str, when: int) -> Login | None:
    """The log-in that a message of sshd tells of; None for another message."""
    found = _ACCEPTED.match(message)
    if found is None:
        return None
    try:
        source = plain(found["source"])
    except ValueError:
        return None
    return Login(found["user"], source, int(found["port"]), (found["key"] or "")[:MAX_KEY], when)


class LoginUse:
    """When each admin network and key was last used. It is stored on the disk; if that fails,
    the log is read again."""

    def __init__(
        self, host: Host, logins: LoginLog, access: Access, changed: Callable[[], None]
    ) -> None:
        self._host, self._changed = host, changed
        self._logins, self._access = logins, access
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
                # A new log does not know the cursor.
                self._kept = StoredLogins("", self._kept.used)
            stop.wait(LOOK)

    def _look(self) -> None:
        found, cursor = self._logins.after(self._kept.cursor or None)
        # Without a line of sshd there is no cursor, and nothing to store.
        if self._known and cursor == (self._kept.cursor or None):
            return
        latest = {(one.network, one.key): one for one in self._kept.used}
        if found:
            networks = self._access.permitted()[0]
            mine = self._logins.own()
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
        self._kept, self._known = StoredLogins(cursor or "", tuple(used)), True
        if changed:
            self._changed()
        with suppress(OSError):
            self._host.write(_USAGE, dump(self._kept), 0o600, flush=False)


def plain(text: str) -> Address:
    """An address without its zone, and an IPv4-mapped one as IPv4."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
