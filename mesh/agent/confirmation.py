"""A change that narrows who may log in stays only if somebody logs in by what it leaves.

Routers know it as *commit confirmed*. What is to be undone lies on the disk (the journal of
:mod:`mesh.agent.apply`), and so does what is waited for. If the agent does not undo it in time, a
timer of systemd does, and a start of the machine in that time begins with the files of before.
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

from mesh.agent import access, file_paths, log, logins
from mesh.agent.host import CommandFailed, Host
from mesh.agent.logins import Login, Logins
from mesh.agent.state import APPLIED, Applied
from mesh.trust.encoding import Malformed, dump, parse

PATIENCE = 120.0
"""Seconds within which somebody has to log in."""
_UNCONFIRMED = f"{file_paths.STATE}/unconfirmed.json"
_APPLIED = f"{file_paths.STATE}/unconfirmed-applied.json"
_UNDONE = f"{file_paths.STATE}/undone.json"
_LOCK = "/run/anycast-mesh/apply.lock"
_LOCK_SECONDS = 30.0
_SPARE, _WHILE_MADE = 5.0, 120.0
"""Seconds that the agent has to undo it before the timer does: once it is waited for, and while the
change is being made."""
_TIMER = "anycast-mesh-undo"
_UNIT = "anycast-mesh-undo-at-start.service"
_FOLDER = "/etc/systemd/system"
_WANTED = f"{_FOLDER}/sysinit.target.wants/{_UNIT}"
_AT_START = f"""\
[Unit]
Description=Anycast Mesh: undo a change that nobody has confirmed
ConditionPathExists={_UNCONFIRMED}
DefaultDependencies=no
RequiresMountsFor={file_paths.HOME}
After=local-fs.target
Before=sysinit.target network-pre.target nftables.service ssh.service ssh.socket bird.service
Before=anycast-mesh-agent.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 {file_paths.BUNDLE} undo-at-start
"""
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A change that is in force and not confirmed, of a generation whose manifest has that digest.

    ``lost`` says what it takes away. ``until`` is when it is undone, by the machine's own clock
    since its start ``boot`` (microseconds), 0 while it is being made; ``ends`` is the same since
    the epoch. Log-ins count that sshd tells of after ``cursor``, and over none of the
    ``connections`` (address and port of the other end), which were there before.
    ``networks`` and ``ports`` are where one may log in by it, as ``user`` for one.
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
    """A generation that the node has gone back from, and why: it is not tried again."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    generation: int
    manifest: str
    reason: str


class Confirmation:
    """What waits for a log-in on this node."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps the agent and the timer from changing the node at the same time. Who waits too long
        for a hung one goes on."""
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
        """What is not confirmed; None where there is nothing."""
        content = self._host.read(_UNCONFIRMED)
        try:
            return None if content is None else parse(Unconfirmed, content)
        except Malformed:
            # A disk that loses bytes: whatever it was, nobody can confirm it.
            return Unconfirmed(0, "", (), "")

    @property
    def undone(self) -> Undone | None:
        """What was undone last."""
        content = self._host.read(_UNDONE)
        try:
            return None if content is None else parse(Undone, content)
        except Malformed:
            return None

    def begin(self, applied: Applied, lost: Sequence[str]) -> None:
        """Before the first file is swapped: from here on the change is undone without the agent as
        well. :class:`CommandFailed` where that cannot be."""
        change = Unconfirmed(applied.generation, applied.manifest_sha256, tuple(lost), self._boot())
        # First: where the rest is cut short, this says that it is to go.
        self._host.write(_UNCONFIRMED, dump(change), 0o600)
        self._host.write(_APPLIED, dump(applied), 0o600, flush=False)
        self._host.write(f"{_FOLDER}/{_UNIT}", _AT_START.encode(), 0o644)
        link = self._host.path(_WANTED)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{_UNIT}")
        self._host.flush(_FOLDER, file_paths.STATE)
        self._arm(PATIENCE + _WHILE_MADE)

    def wait(self) -> None:
        """The change is made: whoever logs in from now on confirms it."""
        change = self.waiting
        if change is None:
            raise CommandFailed("what is to be confirmed is not on the disk any more")
        networks, ports, user = access.ways_in(self._host)
        # Who is connected before sshd's log is looked at has come before the change, or may have.
        there = logins.connections(self._host, ports)
        cursor = logins.now(self._host)
        seconds = int(PATIENCE * 10**6)
        change = replace(
            change,
            until=self._clock() + seconds,
            ends=time.time_ns() // 1000 + seconds,
            cursor=cursor,
            connections=tuple(sorted((str(address), port) for address, port in there)),
            networks=tuple(map(str, networks)),
            ports=ports,
            user=user,
        )
        self._host.write(_UNCONFIRMED, dump(change), 0o600)
        self._arm(PATIENCE + _SPARE)

    def confirmed_by(self, change: Unconfirmed) -> Login | None:
        """A log-in over a new connection, by a way that the change leaves; None where there is
        none."""
        if not change.cursor:
            return None
        there = {(ip_address(address), port) for address, port in change.connections}
        try:
            for login in Logins(self._host, change.cursor).new():
                if (login.source, login.port) not in there and self._has_come_in(login):
                    return login
        except CommandFailed as error:
            log.warning("log-ins", reason=error)
        return None

    def _has_come_in(self, login: Login) -> bool:
        source = login.source
        if source.is_loopback or source.is_link_local or source in logins.own(self._host):
            return False
        return access.comes_by_a_way_in(self._host, source)

    def left(self, change: Unconfirmed) -> float:
        """Seconds until it is undone; none after a start of the machine."""
        if change.boot != self._boot():
            return -math.inf
        return (change.until - self._clock()) / 10**6

    def why(self, change: Unconfirmed) -> str:
        """Why it is undone, now."""
        lost = f" ({'; '.join(change.lost)})" if change.lost else ""
        if not change.until:
            return f"cut short while it was made{lost}"
        if change.boot != self._boot():
            return f"the machine started anew before anybody had logged in{lost}"
        return f"nobody has logged in anew within {PATIENCE:g} s{lost}"

    def remember(self, change: Unconfirmed, reason: str) -> None:
        """Remembers that it is undone, before it is. A disk that does not take that keeps nobody
        from it: the change would be tried once more by the next agent."""
        undone = Undone(change.generation, change.manifest, reason)
        try:
            self._host.write(_UNDONE, dump(undone), 0o600)
        except OSError as error:
            log.warning("state", reason=error)

    def keep(self) -> None:
        """Somebody has logged in: what was applied is what is in force now, unless a later one has
        come to be so, by an agent of an earlier version."""
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
        """Nothing waits any more, neither here nor at the next start."""
        self._host.remove(_UNCONFIRMED)
        self._host.path(_APPLIED).unlink(missing_ok=True)
        self._host.path(_WANTED).unlink(missing_ok=True)
        self._host.path(f"{_FOLDER}/{_UNIT}").unlink(missing_ok=True)
        self._disarm()

    def forget(self) -> None:
        """Another generation is in force: what was undone before it does not matter."""
        self._host.path(_UNDONE).unlink(missing_ok=True)

    def _arm(self, seconds: float) -> None:
        """One more timer. Those before it stay until all is over, for there is no moment without
        one; whichever comes too early finds that there is time left."""
        self._host.must(
            "systemd-run",
            "--collect",
            f"--unit={_TIMER}-{self._clock()}",
            f"--on-active={seconds:.1f}",
            "--timer-property=AccuracySec=100ms",
            "/usr/bin/python3",
            file_paths.BUNDLE,
            "undo",
        )

    def _disarm(self) -> None:
        self._host.run("systemctl", "stop", f"{_TIMER}-*.timer")

    def _boot(self) -> str:
        return self._host.run("cat", "/proc/sys/kernel/random/boot_id").out.strip()

    @staticmethod
    def _clock() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
