"""Confirmation of a change that narrows who may log in: it stays only if somebody logs in.

Routers call it *commit confirmed*. The journal of :mod:`mesh.agent.apply` and the conditions are on
the disk. If the agent does not undo the change in time, a timer of the system does
(:mod:`mesh.agent.undo_timer`), and a boot in that time undoes it.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import ClassVar

from pydantic import ConfigDict

from mesh.agent import file_paths, log
from mesh.agent.access import Access
from mesh.agent.host import CommandFailed, Host
from mesh.agent.logins import Login, LoginLog
from mesh.agent.state import APPLIED, Applied
from mesh.agent.undo_timer import UNCONFIRMED, UndoTimer
from mesh.trust.encoding import Malformed, dump, parse

PATIENCE = 120.0
"""Seconds within which somebody has to log in."""
_APPLIED = f"{file_paths.STATE}/unconfirmed-applied.json"
_UNDONE = f"{file_paths.STATE}/undone.json"
_LOCK = "/run/anycast-mesh/apply.lock"
_LOCK_SECONDS = 30.0
_SPARE, _WHILE_MADE = 5.0, 120.0
"""Seconds by which the timer is later than the agent: while waiting, and while the change is
made."""
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A change that is in force and not confirmed; ``manifest`` is the digest of its generation.

    ``lost`` is the access that it takes away. ``until`` is when it is undone, in microseconds since
    the start ``boot`` of the machine, 0 while the change is being made; ``ends`` is the same since
    the epoch. Only log-ins count that sshd logs after ``cursor``, over none of the ``connections``
    (remote address and port) that existed before. ``networks`` and ``ports`` are where one may log
    in, for example as ``user``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    generation: int
    manifest: str
    lost: tuple[str, ...]
    boot: str
    until: int = 0
    ends: int = 0
    cursor: str = ""
    connections: tuple[tuple[str, int], ...] = ()
    networks: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str = "root"


@dataclass(frozen=True, slots=True)
class Undone:
    """A generation that was rolled back, and why: it is not tried again."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    generation: int
    manifest: str
    reason: str


class Confirmation:
    """The change that waits for a log-in on this node."""

    def __init__(self, host: Host, access: Access, logins: LoginLog, timer: UndoTimer) -> None:
        self._host, self._access = host, access
        self._logins, self._timer = logins, timer

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps agent and timer from changing the node at the same time. After _LOCK_SECONDS the
        other one counts as hung, and this one continues."""
        path = self._host.path(_LOCK)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_SECONDS
            while time.monotonic() < deadline:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(0.1)
            yield
        finally:
            os.close(descriptor)

    @property
    def waiting(self) -> Unconfirmed | None:
        """The unconfirmed change; None if there is none."""
        content = self._host.read(UNCONFIRMED)
        try:
            return None if content is None else parse(Unconfirmed, content)
        except Malformed:
            # Damaged: no log-in can confirm it.
            return Unconfirmed(0, "", (), "")

    @property
    def undone(self) -> Undone | None:
        """The change that was undone last."""
        content = self._host.read(_UNDONE)
        try:
            return None if content is None else parse(Undone, content)
        except Malformed:
            return None

    def begin(self, applied: Applied, lost: Sequence[str]) -> None:
        """Called before the first file is swapped: from here on the change is undone without the
        agent too. Raises :class:`CommandFailed`."""
        change = Unconfirmed(
            applied.generation, applied.manifest_sha256, tuple(lost), self._timer.boot()
        )
        # First: after an interruption, this file causes the rest to be removed.
        self._host.write(UNCONFIRMED, dump(change), 0o600)
        self._host.write(_APPLIED, applied.encoded(), 0o600, flush=False)
        self._timer.prepare()
        self._host.flush(file_paths.STATE)
        self._timer.arm(PATIENCE + _WHILE_MADE)

    def wait(self) -> None:
        """Called when the change is made: a log-in from now on confirms it."""
        change = self.waiting
        if change is None:
            raise CommandFailed("what is to be confirmed is not on the disk any more")
        networks, ports, user = self._access.permitted()
        # Listed before the log's cursor is read: these may have been made before the change.
        there = self._logins.connections(ports)
        cursor = self._logins.now()
        seconds = int(PATIENCE * 10**6)
        change = replace(
            change,
            until=self._timer.clock() + seconds,
            ends=time.time_ns() // 1000 + seconds,
            cursor=cursor,
            connections=tuple(sorted((str(address), port) for address, port in there)),
            networks=tuple(map(str, networks)),
            ports=ports,
            user=user,
        )
        self._host.write(UNCONFIRMED, dump(change), 0o600)
        self._timer.arm(PATIENCE + _SPARE)

    def confirmed_by(self, change: Unconfirmed) -> Login | None:
        """A log-in over a new connection from a source that the change admits; None if there is
        none."""
        if not change.cursor:
            return None
        there = {(ip_address(address), port) for address, port in change.connections}
        try:
            for login in self._logins.after(change.cursor)[0]:
                if (login.source, login.port) in there or not self._is_admitted(login):
                    continue
                if not self._logins.is_forgeable or self._is_connected(login, change.ports):
                    return login
        except CommandFailed as error:
            log.warning("log-ins", reason=error)
        return None

    def _is_connected(self, login: Login, ports: tuple[int, ...]) -> bool:
        """Whether the kernel has the connection of a log-in, which nobody on the node can forge."""
        return (login.source, login.port) in self._logins.connections(ports)

    def _is_admitted(self, login: Login) -> bool:
        source = login.source
        if source.is_loopback or source.is_link_local or source in self._logins.own():
            return False
        return self._access.admits(source)

    def left(self, change: Unconfirmed) -> float:
        """Seconds until it is undone; minus infinity after a reboot."""
        if change.boot != self._timer.boot():
            return -math.inf
        return (change.until - self._timer.clock()) / 10**6

    def why(self, change: Unconfirmed) -> str:
        """Why it is undone."""
        lost = f" ({'; '.join(change.lost)})" if change.lost else ""
        if not change.until:
            return f"cut short while it was made{lost}"
        if change.boot != self._timer.boot():
            return f"the machine started anew before anybody had logged in{lost}"
        return f"nobody has logged in anew within {PATIENCE:g} s{lost}"

    def remember(self, change: Unconfirmed, reason: str) -> None:
        """Stores that it is undone, before it is. If the disk refuses that, the change is undone
        all the same, and the next agent tries it once more."""
        undone = Undone(change.generation, change.manifest, reason)
        try:
            self._host.write(_UNDONE, dump(undone), 0o600)
        except OSError as error:
            log.warning("state", reason=error)

    def keep(self) -> None:
        """Stores the confirmed generation as the applied one, unless an agent of an earlier version
        has applied a later one."""
        kept, now = self._generation(_APPLIED), self._generation(APPLIED)
        if kept > now:
            self._host.path(_APPLIED).replace(self._host.path(APPLIED))

    def _generation(self, path: str) -> int:
        content = self._host.read(path)
        try:
            return 0 if content is None else parse(Applied, content).generation
        except Malformed:
            return 0

    def end(self) -> None:
        """Removes the unconfirmed change, its timers and its unit for the next boot."""
        self._host.remove(UNCONFIRMED)
        self._host.path(_APPLIED).unlink(missing_ok=True)
        self._timer.end()

    def forget(self) -> None:
        """Forgets the undone change: another generation is in force."""
        self._host.path(_UNDONE).unlink(missing_ok=True)
