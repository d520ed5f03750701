"""BIRD's log of rejected routes and of itself: received over UDP, and logged at a bounded rate.

BIRD waits for syslog: with a slow journal, a table that is rejected as a whole would block it for
longer than its sessions' hold time. So its log classes info, remote and warning, in which a
neighbor can cause a line per route, are sent here as datagrams, for which BIRD does not wait. Any
process on the node may send to this port: lines are logged, counted and shortened, and have no
other effect.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress

from mesh.agent import log
from mesh.foreign import printable
from mesh.limits import BIRD_LOG_PORT
from mesh.trust.documents import MAX_REFUSED

LINES, SECONDS = 20, 10.0
"""At most so many lines in so many seconds; then one with the number of further ones."""
LONGEST = 500
"""Characters of a line that are kept."""
COUNTS_EVERY = 30.0
"""Seconds between two updates of the reported counts: each change would cause a report."""
OTHER = "other"
"""The reason counted when there are too many different ones."""
_AT_ONCE, _BREAK = 1000, 0.01
"""Lines that are read without a break, and the break in seconds, so that a flood does not block
other threads; the kernel drops the excess."""
_BUFFER = 8 << 20
# socket(7); Python has no names for them.
_SO_RCVBUFFORCE, _SO_RXQ_OVFL = 33, 40
_SUMMARY = 10
"""How many kinds a summary names."""
_AGAIN = 5.0
_PREFIX = re.compile(r"<(\d{1,3})>.{1,80}?bird: ")
_INFO = "30"  # daemon.info (RFC 3164, 4.1.1); the others are 29 (remote) and 28 (warning)
_UNFIT = re.compile(r"(.{0,80}?)(Ignoring bogus|Invalid) route ")
_REFUSED = re.compile(r"rejected: ([^,]{1,80}), net [^,]{1,60}, session ([^,]{1,64}),")


class RateLimit:
    """Lines of one event: logged up to a rate, and counted by kind above it."""

    def __init__(self, event: str, write: Callable[..., None] = log.info) -> None:
        self._event, self._write = event, write
        self._passed: deque[float] = deque(maxlen=LINES)
        self._more: Counter[str] = Counter()
        self._since = 0.0

    def take(self, line: str, kind: str, now: float) -> None:
        """One line; ``now`` is monotonic seconds."""
        self.settle(now)
        if len(self._passed) < LINES or now - self._passed[0] >= SECONDS:
            self._passed.append(now)
            self._write(self._event, line=line)
            return
        self.miss(kind if kind in self._more or len(self._more) < MAX_REFUSED else OTHER, 1, now)

    def miss(self, kind: str, count: int, now: float) -> None:
        """Counts lines that are not logged."""
        if not self._more:
            self._since = now
        self._more[kind] += count

    def settle(self, now: float) -> None:
        """Logs the counts of further lines, once it is time."""
        if self._more and now - self._since >= SECONDS:
            named = [f"{count} {kind}" for kind, count in self._more.most_common(_SUMMARY)]
            left = len(self._more) - len(named)
            text = "; ".join([*named, *([f"{left} more kinds"] if left else [])])
            self._write(self._event, more=self._more.total(), of=text)
            self._more.clear()


class RejectedRoutes:
    """Receives the log of this node's BIRD."""

    def __init__(self, port: int = BIRD_LOG_PORT) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._reported: tuple[dict[str, int], float] = ({}, -COUNTS_EVERY)
        self._refused, self._unfit = RateLimit("bird-refused"), RateLimit("bird-unfit")
        self._warned, self._others = RateLimit("bird-warning", log.warning), RateLimit("bird")

    @property
    def counts(self) -> dict[str, int]:
        """Rejected routes since the start, by reason; in a flood the kernel drops some lines, which
        are not counted here."""
        now = time.monotonic()
        with self._lock:
            if now - self._reported[1] >= COUNTS_EVERY:
                self._reported = (dict(sorted(self._counts.items())), now)
            return dict(self._reported[0])

    def run(self, stop: threading.Event) -> None:
        """Receives until ``stop`` is set; after an error it starts again."""
        last = ""
        while not stop.is_set():
            try:
                with self._listening() as receiver:
                    self._receive(receiver, stop)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != last:
                    log.warning("refusals", port=self._port, reason=reason)
                last = reason
                stop.wait(_AGAIN)

    def _listening(self) -> socket.socket:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if sys.platform == "linux":
                with suppress(PermissionError):  # not root, as in a test: the kernel's default size
                    receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
                receiver.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            receiver.bind(("127.0.0.1", self._port))
            receiver.settimeout(1.0)
        except OSError:
            receiver.close()
            raise
        return receiver

    def _receive(self, receiver: socket.socket, stop: threading.Event) -> None:
        taken = lost = 0
        while not stop.is_set():
            try:
                datagram, extra, _, _ = receiver.recvmsg(2048, 64)
                now = time.monotonic()
                for level, kind, data in extra:
                    if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                        total = int.from_bytes(data[:4], sys.byteorder)
                        if total > lost:
                            self._refused.miss("dropped by the kernel", total - lost, now)
                        lost = total
                self.take(datagram, now)
            except TimeoutError:
                taken = 0
                for bound in (self._refused, self._unfit, self._warned, self._others):
                    bound.settle(time.monotonic())
                continue
            taken += 1
            if taken % _AT_ONCE == 0:
                stop.wait(_BREAK)

    def take(self, datagram: bytes, now: float) -> None:
        """One line as BIRD sends it (RFC 3164); ``now`` is monotonic seconds."""
        text = datagram.decode("utf-8", "replace")
        prefix = _PREFIX.match(text)
        line = printable(text[prefix.end() if prefix else 0 :].rstrip())[:LONGEST]
        found = _REFUSED.match(line)
        if found is None:
            # Routes that BIRD discards before any filter: their flood hides no other warning.
            unfit = _UNFIT.match(line)
            is_info = prefix is None or prefix[1] == _INFO
            bound = self._unfit if unfit else self._others if is_info else self._warned
            bound.take(line, unfit[0].strip() if unfit else line.partition(" ")[0][:40], now)
            return
        because, session = found.groups()
        with self._lock:
            room = because in self._counts or len(self._counts) < MAX_REFUSED - 1
            self._counts[because if room else OTHER] += 1
        self._refused.take(line, f"{because} by {session}", now)
