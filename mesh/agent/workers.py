"""The agent's threads, of which none ends unseen.

What fails is logged, told in the reports for a while, and begun again. A thread that has ended all
the same is seen by the watchdog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from mesh.agent import log
from mesh.foreign import printable

PAUSES = (0.5, 5.0)
"""Seconds until failed work is begun again, first and last."""
TOLD = 300.0
"""Seconds for which a failure is told; who has worked for so long since begins with the first pause
again."""


class Workers:
    """Threads that work until ``stop`` is set. ``changed`` is called when one has failed."""

    def __init__(self, stop: threading.Event, changed: Callable[[], None] = lambda: None) -> None:
        self._stop, self._changed = stop, changed
        self._lock = threading.Lock()
        self._lasting: list[threading.Thread] = []
        self._failures: dict[str, tuple[str, float]] = {}

    def start(self, name: str, work: Callable[[], None], *, lasting: bool = True) -> None:
        """Does this work in a thread of that name. ``lasting`` work returns when ``stop`` is set
        and not before; other work may be over at any time."""
        thread = threading.Thread(target=self._keep, args=(name, work), name=name, daemon=True)
        if lasting:
            with self._lock:
                self._lasting.append(thread)
        thread.start()

    @property
    def alive(self) -> bool:
        """Whether no thread that is to last has ended."""
        with self._lock:
            return all(thread.is_alive() for thread in self._lasting if thread.ident)

    @property
    def failures(self) -> dict[str, str]:
        """What has failed lately, by the thread's name, and why."""
        since = time.monotonic() - TOLD
        with self._lock:
            return {name: why for name, (why, when) in self._failures.items() if when >= since}

    def _keep(self, name: str, work: Callable[[], None]) -> None:
        pause = PAUSES[0]
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                work()
                return
            except Exception as error:
                # Whatever it is: what else the node does has to go on, and this as well.
                why = printable(f"{type(error).__name__}: {error}")
            log.warning("thread-failed", thread=name, reason=why)
            now = time.monotonic()
            with self._lock:
                self._failures[name] = (why, now)
            self._changed()
            pause = PAUSES[0] if now - began >= TOLD else pause
            self._stop.wait(pause)
            pause = min(pause * 2, PAUSES[1])
