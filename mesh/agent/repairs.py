"""The repairs of this node, and a limit on their number.

An object that was repaired three times in ten minutes is changed on purpose. It is left alone and
reported, for an hour or until a generation is applied. The firewall is always repaired.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.agent import log
from mesh.foreign import printable
from mesh.trust.documents import MAX_ERROR, MAX_NAME, MAX_REPAIRS, Repair
from mesh.trust.documents import Repairs as Reported

OFTEN = 3
"""Repairs within WINDOW seconds after which an object is left alone."""
WINDOW = 600.0
STOPPED = 3600.0
"""Seconds for which it is left alone, from its last repair on."""


@dataclass(slots=True)
class _Object:
    """One object's history; ``last`` is seconds since the epoch, other times are monotonic
    seconds."""

    times: deque[float] = field(default_factory=lambda: deque(maxlen=OFTEN))
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    why: str = ""
    by: str = ""
    last: int = 0
    stopped: bool = False
    wrong: bool = False
    """Whether it differs and is left alone."""
    failing: bool = False
    """Whether the last repair has failed."""


class Repairs:
    """The repairs of one node. ``changed`` is called when the report changes; ``held`` returns
    whether the node is on hold."""

    def __init__(
        self,
        changed: Callable[[], None] = lambda: None,
        held: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._changed, self._held, self._clock = changed, held, clock
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._count = 0

    def allows(self, what: str, why: str, *, always: bool = False) -> bool:
        """Whether an object may be repaired now; ``always`` if there is no limit for it. The first
        refusal is logged and reported."""
        if self._held():
            return False
        with self._lock:
            one = self._objects.get(what)
            if one is None:
                return True
            often = len(one.times) == OFTEN and self._clock() - one.times[0] < WINDOW
            if one.stopped and self._clock() - one.times[-1] >= STOPPED:
                one.stopped = one.wrong = often = False
            if not often and not one.stopped:
                return True
            news = not one.stopped
            one.stopped = one.wrong = not always
        if always:
            return True
        if news:
            log.warning("repair-stopped", what=what, reason=one.why, by=one.by)
            self._changed()
        return False

    def right(self, what: str) -> None:
        """Records that an object does not differ any more."""
        with self._lock:
            one = self._objects.get(what)
            if one is None:
                return
            one.wrong = False
            if one.failing:
                # Failed repairs are no repeated changes.
                one.times.clear()
                one.failing = one.stopped = False

    def record(self, what: str, why: str, by: str = "", failure: str = "") -> int:
        """Records a repair, or with ``failure`` why it failed; how many there were lately."""
        keys = {"by": by} if by else {}
        if failure:
            log.warning("repair-failed", what=what, reason=why, failure=failure, **keys)
        else:
            log.warning("repaired", what=what, reason=why, **keys)
        now = self._clock()
        with self._lock:
            one = self._objects.setdefault(what, _Object())
            one.times.append(now)
            one.failing = bool(failure)
            if not failure:
                one.recent.append(now)
            one.why = f"{why}; {failure}" if failure else why
            one.by, one.last = by or one.by, int(time.time())
            self._count += not failure
            times = len([when for when in one.times if now - when < WINDOW])
        self._changed()
        return times

    def forgive(self) -> None:
        """Resets the limits: after a new generation or a hold."""
        with self._lock:
            for one in self._objects.values():
                one.times.clear()
                one.recent.clear()
                one.stopped = one.wrong = one.failing = False

    @property
    def reported(self) -> Reported:
        """The repairs for the report: objects that are left alone first, then the latest."""
        now = self._clock()
        with self._lock:
            for one in self._objects.values():
                while one.recent and now - one.recent[0] >= WINDOW:
                    one.recent.popleft()
            self._objects = {
                what: one
                for what, one in self._objects.items()
                if one.recent or one.stopped or (one.times and now - one.times[-1] < WINDOW)
            }
            ranked = sorted(
                self._objects.items(), key=lambda item: (not item[1].wrong, -item[1].last)
            )
            objects = tuple(
                Repair(
                    printable(what)[:MAX_NAME],
                    printable(one.why)[:MAX_ERROR],
                    len(one.recent),
                    one.last,
                    printable(one.by)[:MAX_ERROR],
                    one.wrong,
                )
                for what, one in ranked
                if one.recent or one.wrong or one.failing
            )
            return Reported(self._count, objects[:MAX_REPAIRS])
