"""The registry's watchdog: ends a process that no longer answers, so that systemd restarts it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool

EVERY = 5
"""Seconds between two beats."""
PATIENCE = 30.0
"""Seconds without a beat until the process ends."""


def end() -> None:
    """Ends this process at once; an orderly exit could hang."""
    print("<3>registry-stuck", file=sys.stderr, flush=True)
    os._exit(1)


class Watchdog:
    """Beats while the event loop runs and its pool has a free thread."""

    def __init__(self, patience: float = PATIENCE, end: Callable[[], None] = end) -> None:
        self._patience, self._end = patience, end
        self._last = time.monotonic()

    async def beat(self) -> None:
        """One beat, called periodically in the event loop."""
        try:
            await asyncio.wait_for(run_in_threadpool(lambda: None), EVERY)
        except TimeoutError:
            return
        self._last = time.monotonic()

    def watch(self) -> None:
        """Starts to watch, in a thread."""
        self._last = time.monotonic()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _watch(self) -> None:
        while time.monotonic() - self._last < self._patience:
            time.sleep(self._patience / 10)
        self._end()
