"""What BIRD tells of each refused route, and of itself: heard over UDP, kept to a bounded rate.

BIRD writes to syslog and waits for it: a table that is refused as a whole, told to a journal that
is slow, would keep it from its sessions for longer than their hold time. So its classes info,
remote and warning come here: in each of them a neighbor can cause a line per route. A datagram to
ourselves waits for nobody, and is lost where nobody listens. Only root can listen on that port, but
anybody on the node may send to it: what is said here is told, counted and cut, and never acted
upon.
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
"""At most so many lines in so many seconds; then one that says how many more there were."""
LONGEST = 500
"""Characters of a line that are kept."""
TELL = 30.0
"""Seconds for which the counts stay as they were told: they are no reason for a report each."""
OTHER = "other"
"""Where the counts have no room for another reason."""
_AT_ONCE, _BREATH = 1000, 0.01
"""Lines that are read without a break, and the break in seconds: a flood leaves the other threads
their time, and the kernel drops what is too much."""
_BUFFER = 8 << 20
# socket(7); Python has no names for them.
_SO_RCVBUFFORCE, _SO_RXQ_OVFL = 33, 40
_SUMMARY = 10
"""Kinds that a summary names."""
_AGAIN = 5.0
_PREFIX = re.compile(r"<(\d{1,3})>.{1,80}?bird: ")
_INFO = "30"  # daemon.info (RFC 3164, 4.1.1); the others are 29 (remote) and 28 (warning)
_UNFIT = re.compile(r"(.{0,80}?)(Ignoring bogus|Invalid) route ")
_REFUSED = re.compile(r"rejected: ([^,]{1,80}), net [^,]{1,60}, session ([^,]{1,64}),")


class RateLimit:
    """Lines of one sort: passed on up to a rate, and counted by kind above it."""

    def __init__(self, event: str, say: Callable[..., None] = log.info) -> None:
        self._event, self._say = event, say
        self._passed: deque[float] = deque(maxlen=LINES)
        self._more: Counter[str] = Counter()
        self._since = 0.0

    def take(self, line: str, kind: str, now: float) -> None:
        """One line; ``now`` is monotonic seconds."""
        self.settle(now)
        if len(self._passed) < LINES or now - self._passed[0] >= SECONDS:
            self._passed.append(now)
            self._say(self._event, line=line)
            return
        self.miss(kind if kind in self._more or len(self._more) < MAX_REFUSED else OTHER, 1, now)

    def miss(self, kind: str, count: int, now: float) -> None:
        """So many lines that are not passed on."""
        if not self._more:
            self._since = now
        self._more[kind] += count

    def settle(self, now: float) -> None:
        """Says how many more there were, once it is time."""
        if self._more and now - self._since >= SECONDS:
            named = [f"{count} {kind}" for kind, count in self._more.most_common(_SUMMARY)]
            left = len(self._more) - len(named)
            text = "; ".join([*named, *([f"{left} more kinds"] if left else [])])
            self._say(self._event, more=self._more.total(), of=text)
            self._more.clear()


class RejectedRoutes:
    """Listens to the BIRD of this node."""

    def __init__(self, port: int = BIRD_LOG_PORT) -> None:
        self._port = port
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._told: tuple[dict[str, int], float] = ({}, -TELL)
        self._refused, self._unfit = RateLimit("bird-refused"), RateLimit("bird-unfit")
        self._warned, self._others = RateLimit("bird-warning", log.warning), RateLimit("bird")

    @property
    def counts(self) -> dict[str, int]:
        """How many routes were refused since we listen, by reason: at least, since in a flood
        the kernel drops some of the lines."""
        now = time.monotonic()
        with self._lock:
            if now - self._told[1] >= TELL:
                self._told = (dict(sorted(self._counts.items())), now)
            return dict(self._told[0])

    def run(self, stop: threading.Event) -> None:
        """Listens until told to stop; whatever goes wrong, it begins again."""
        said = ""
        while not stop.is_set():
            try:
                with self._listening() as ear:
                    self._listen(ear, stop)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != said:
                    log.warning("refusals", port=self._port, reason=reason)
                said = reason
                stop.wait(_AGAIN)

    def _listening(self) -> socket.socket:
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            with suppress(PermissionError):  # not root, as in a test: the kernel's own size then
                ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
            ear.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            ear.bind(("127.0.0.1", self._port))
            ear.settimeout(1.0)
        except OSError:
            ear.close()
            raise
        return ear

    def _listen(self, ear: socket.socket, stop: threading.Event) -> None:
        taken = lost = 0
        while not stop.is_set():
            try:
                datagram, extra, _, _ = ear.recvmsg(2048, 64)
                now = time.monotonic()
                for level, kind, data in extra:
                    if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                        total = int.from_bytes(data[:4], sys.byteorder)
                        if total > lost:
                            self._refused.miss("unread, for there were too many", total - lost, now)
                        lost = total
                self.take(datagram, now)
            except TimeoutError:
                taken = 0
                for bound in (self._refused, self._unfit, self._warned, self._others):
                    bound.settle(time.monotonic())
                continue
            taken += 1
            if taken % _AT_ONCE == 0:
                stop.wait(_BREATH)

    def take(self, datagram: bytes, now: float) -> None:
        """One line as BIRD sends it (RFC 3164); ``now`` is monotonic seconds."""
        text = datagram.decode("utf-8", "replace")
        prefix = _PREFIX.match(text)
        line = printable(text[prefix.end() if prefix else 0 :].rstrip())[:LONGEST]
        found = _REFUSED.match(line)
        if found is None:
            # What BIRD itself cannot take, before any filter: its flood hides no other warning.
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
