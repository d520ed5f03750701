"""All that a speaker was told, in order and with its time: what is asserted is never a final state.

Times are seconds of the monotonic clock, those of ``time.monotonic()``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tests.kit.bgp.attributes import Route
from tests.kit.bgp.messages import Keepalive, Message, Notification, Open, Update
from tests.kit.wait import patience

T = TypeVar("T")
SHOWN = 20  # entries in a failure's text


@dataclass(frozen=True, slots=True)
class Opened:
    """A TCP connection stands."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The TCP connection has ended; ``reason`` is empty when the other closed it."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event."""

    at: float
    event: Message | Opened | Closed


class Log:
    """What came in over all connections of one speaker. It only grows."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._changed = threading.Condition()

    def add(self, event: Message | Opened | Closed) -> None:
        """Note an event now."""
        with self._changed:
            self._entries.append(Entry(time.monotonic(), event))
            self._changed.notify_all()

    def entries(self, since: float = 0.0) -> tuple[Entry, ...]:
        """All so far, or those from a time on; KEEPALIVEs are left out, they say nothing."""
        with self._changed:
            kept = tuple(self._entries)
        return tuple(e for e in kept if e.at >= since and not isinstance(e.event, Keepalive))

    def updates(self, since: float = 0.0) -> tuple[Update, ...]:
        """UPDATEs alone."""
        found = (entry.event for entry in self.entries(since))
        return tuple(event for event in found if isinstance(event, Update))

    def opens(self) -> tuple[Open, ...]:
        """OPENs: one of each session."""
        return tuple(e.event for e in self.entries() if isinstance(e.event, Open))

    def notifications(self) -> tuple[Notification, ...]:
        """NOTIFICATIONs: why it ended a session."""
        return tuple(e.event for e in self.entries() if isinstance(e.event, Notification))

    def ends(self) -> tuple[Closed, ...]:
        """Ends of connections, whoever ended them."""
        return tuple(e.event for e in self.entries() if isinstance(e.event, Closed))

    def routes(self) -> dict[str, Route]:
        """What the other's announcements come to, by prefix: the last session's, if it stands."""
        held: dict[str, Route] = {}
        for entry in self.entries():
            if isinstance(entry.event, Opened | Closed):
                held.clear()
            elif isinstance(entry.event, Update):
                for prefix in entry.event.withdrawn:
                    held.pop(prefix, None)
                held.update((route.prefix, route) for route in entry.event.announced)
        return held

    def wait(self, holds: Callable[[Log], T], seconds: float, what: str) -> T:
        """What ``holds`` yields for this log, once it is true; tried at every event.

        Raises AssertionError with ``what`` and the latest events where it never is. ``seconds`` are
        what it takes at most where nothing else runs; it is waited for longer.
        """
        if value := self.within(holds, longest := patience(seconds)):
            return value
        raise AssertionError(f"not within {longest:g} s: {what}\n{self}")

    def within(self, holds: Callable[[Log], T], seconds: float) -> T | None:
        """The same; None where it is not true after just so many seconds."""
        end = time.monotonic() + seconds
        while True:
            with self._changed:
                seen = len(self._entries)
            if value := holds(self):
                return value
            with self._changed:
                while len(self._entries) == seen:
                    if (left := end - time.monotonic()) <= 0:
                        return None
                    self._changed.wait(left)

    def __str__(self) -> str:
        entries = self.entries()
        return "\n".join(f"{e.at:.3f} {e.event}" for e in entries[-SHOWN:]) or "nothing came in"
