"""The agent's threads. A failure is logged and reported, and the work is restarted.

If a thread ends all the same, the watchdog restarts the agent.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from collections.abc import Callable

from mesh.agent import log
from mesh.foreign import printable

PAUSES = (0.5, 5.0)
"""Seconds until failed work is restarted, first and last."""
REPORTED = 300.0
"""Seconds for which a failure is reported; after that time without one, the next pause is the first
again."""
_SET_NAME = 15  # PR_SET_NAME, prctl(2)


class Workers:
    """Threads that run until ``stop`` is set. ``changed`` is called when one has failed."""

    def __init__(self, stop: threading.Event, changed: Callable[[], None] = lambda: None) -> None:
        self._stop, self._changed = stop, changed
        self._lock = threading.Lock()
        self._lasting: list[threading.Thread] = []
        self._failures: dict[str, tuple[str, float]] = {}

    def start(self, name: str, work: Callable[[], None], *, lasting: bool = True) -> None:
        """Runs this work in a thread of that name. ``lasting`` work returns when ``stop`` is set
        and not before; other work may end at any time."""
        thread = threading.Thread(target=self._keep, args=(name, work), name=name, daemon=True)
        if lasting:
            with self._lock:
                self._lasting.append(thread)
        thread.start()

    @property
    def alive(self) -> bool:
        """Whether all lasting threads run."""
        with self._lock:
            return all(thread.is_alive() for thread in self._lasting if thread.ident)

    @property
    def failures(self) -> dict[str, str]:
        """Recent failures by the thread's name, with the reason."""
        since = time.monotonic() - REPORTED
        with self._lock:
            return {name: why for name, (why, when) in self._failures.items() if when >= since}

    def _keep(self, name: str, work: Callable[[], None]) -> None:
        # For `top -H` and /proc; the kernel takes fifteen characters.
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_SET_NAME, name.encode()[:15], 0, 0, 0)
        pause = PAUSES[0]
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                work()
                return
            except Exception as error:
                # The node's other work goes on, whatever fails here.
                why = printable(f"{type(error).__name__}: {error}")
            log.warning("thread-failed", thread=name, reason=why)
            now = time.monotonic()
            with self._lock:
                self._failures[name] = (why, now)
            self._changed()
            pause = PAUSES[0] if now - began >= REPORTED else pause
            self._stop.wait(pause)
            pause = min(pause * 2, PAUSES[1])
