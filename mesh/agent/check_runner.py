"""Asks a check's question of one instance again and again, and says what came of it.

every interval ──► look ──► answered(problem)
                     ▲
the daemon ends ─────┤  an idle connection to it is closed
a first miss ────────┘  a second look, as soon as the check wants it
"""

from __future__ import annotations

import math
import select
import socket
import time
from collections.abc import Callable

from mesh.foreign import printable
from mesh.services.checks import Check
from mesh.services.checks.check import Target
from mesh.services.checks.connection import OWN, Deadline, connected, said

LATE = 0.05
"""Seconds after the end of its time at which a look was late: this machine was too busy for it."""
LATE_LOOKS = 3
"""How many late looks there are in a row before one counts."""
NAP = 1.0
"""Seconds within which a runner that is gone ends."""
WARNINGS = 60.0
"""Seconds between two questions for a warning."""
SHORT = 1.0
"""Seconds that an idle connection lives at least with a daemon that bears it."""
GREETING = 4096
"""Bytes that a daemon may send on an idle connection; reading more takes the time for questions."""
STRIKES = 2
"""After how many idle connections in a row that it does not bear a daemon gets none any more."""


class CheckRunner:
    """A check of one target, in a thread of its own.

    ``answered`` gets each problem, empty for a good answer, and says whether a second look should
    follow at once; one does where answers change, and not for each of several that ``rise`` and
    ``fall`` want. ``gone`` says that nobody wants to know any more. ``warned`` gets each warning,
    empty where there is none.
    """

    def __init__(
        self,
        check: Check,
        target: Target,
        answered: Callable[[str], bool],
        gone: Callable[[], bool],
        warned: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._check, self._target = check, target
        self._answered, self._gone, self._warned = answered, gone, warned
        self._watch = _Watch(check, target)
        self._good: bool | None = None
        """The last answer."""
        self._warning_at = -math.inf
        self.seconds = 0.0
        """How long the last look took."""

    def run(self) -> None:
        """Asks until it is gone."""
        ended = False
        try:
            while not self._gone():
                began = time.monotonic()
                problem = self._look()
                self.seconds = time.monotonic() - began
                if self._gone():
                    return
                self._watch.saw(problem)
                changed = self._good is not (not problem)
                self._good = not problem
                # What closed the connection may be the first of several processes that end.
                hurry = (self._answered(problem) and changed) or ended
                if self._good:
                    self._ask_for_warning()
                pause = self._check.interval
                ended = self._wait(began + (min(pause, self._check.again) if hurry else pause))
        finally:
            self._watch.drop()

    def _look(self) -> str:
        problem = _in_time(self._check, self._target)
        if problem and self._watch.is_new:
            # It may come from the connection: some daemons serve one at a time.
            self._watch.drop()
            problem = _in_time(self._check, self._target)
            self._watch.strike(not problem)
        return problem

    def _wait(self, until: float) -> bool:
        """Until that time, or until the daemon ends; whether it did."""
        while (left := until - time.monotonic()) > 0 and not self._gone():
            if self._watch.ends_within(min(left, NAP)):
                return True
        return False

    def _ask_for_warning(self) -> None:
        if time.monotonic() - self._warning_at < WARNINGS:
            return
        self._warning_at = time.monotonic()
        try:
            self._warned(self._check.warning(self._target))
        except Exception as error:
            self._warned(_failure(error))


class _Watch:
    """An idle connection to the daemon of a check, which its kernel closes when it ends.

    Some daemons do not bear one: they close it at once, serve nobody else meanwhile, or send
    without end. They get none any more.
    """

    def __init__(self, check: Check, target: Target) -> None:
        self._check, self._target = check, target
        own = target.device == OWN
        self._port = check.watched_port if own else None
        self._idle: socket.socket | None = None
        self._opened = -math.inf
        self._heard = 0
        self._proven = False
        self._strikes = 0

    @property
    def is_new(self) -> bool:
        """Whether there is a connection, and no good answer since it was opened."""
        return self._idle is not None and not self._proven

    def strike(self, is_one: bool) -> None:
        """Counts a connection that the daemon has not borne."""
        self._strikes += is_one

    def saw(self, problem: str) -> None:
        """Opens a connection after a good answer, where there is none; ends it after a miss."""
        now = time.monotonic()
        if problem:
            self.drop()
        elif self._idle is not None:
            self._proven = True
            if now - self._opened >= SHORT:
                self._strikes = 0
        elif now - self._opened >= self._check.interval and self._strikes < STRIKES:
            self._open(now)

    def ends_within(self, seconds: float) -> bool:
        """Waits so long, or until the daemon has ended; whether it has."""
        if self._idle is None:
            time.sleep(seconds)
            return False
        poll = select.poll()
        poll.register(self._idle, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        if (count := said(self._idle)) is not None:
            self._heard += count
            if self._heard > GREETING:
                self._strikes = STRIKES
                self.drop()
            return False
        if time.monotonic() - self._opened < SHORT:
            self._strikes += 1
        self.drop()
        return True

    def drop(self) -> None:
        """Closes the connection, where there is one."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _open(self, now: float) -> None:
        if self._port is None:
            return
        self._opened, self._heard, self._proven = now, 0, False
        try:
            self._idle = connected(self._target, self._port, Deadline(self._check.within))
        except OSError:
            return  # the next look says what is wrong


def asked(check: Check, target: Target) -> str:
    """A check's problem; an error in the check itself is one too."""
    try:
        return check.problem(target)
    except Exception as error:
        return _failure(error)


def _in_time(check: Check, target: Target) -> str:
    """The same; a look that this machine has delayed is repeated, some times."""
    problem = ""
    for _ in range(LATE_LOOKS):
        began = time.monotonic()
        problem = asked(check, target)
        if not problem or time.monotonic() - began < check.longest + LATE:
            break
    return problem


def _failure(error: Exception) -> str:
    return printable(f"the check itself fails: {type(error).__name__}: {error}")
