"""The lines of a publication: each once, and a wait again from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[str], None]

REPEAT = 10.0
"""Seconds after which the line of a wait is repeated."""


class ProgressLines:
    """Shows each line once, and repeats the line of a wait with its time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._began = progress, time.monotonic()
        self._last = self._began
        self._shown: set[str] = set()

    def __call__(self, line: str) -> None:
        """Shows a line, unless it was shown before."""
        if line not in self._shown:
            self._shown.add(line)
            self._show(line)

    def waiting(self, line: str) -> None:
        """Shows what is waited for; again with the seconds after some time without a line."""
        if line not in self._shown:
            self(line)
        elif time.monotonic() - self._last >= REPEAT:
            self._show(f"{line} ({time.monotonic() - self._began:.0f} s)")

    def counting(self, line: str, left: str) -> None:
        """Shows what is waited for and the time left, from time to time."""
        if line not in self._shown:
            self._shown.add(line)
            self._show(f"{line}: {left}")
        elif time.monotonic() - self._last >= REPEAT:
            self._show(f"{line}: {left}")

    def _show(self, line: str) -> None:
        self._last = time.monotonic()
        self._progress(line)
