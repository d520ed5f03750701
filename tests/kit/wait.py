"""How tests and benches wait. All that is waited for comes on a busy machine as well, and late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

BUSY = 6
"""How many times longer it takes at a load of twenty on two processors."""
PATIENCE = 60.0
"""Seconds that are waited for whatever takes a moment."""
NAP = 0.05

T = TypeVar("T")


def patience(seconds: float) -> float:
    """How long to wait for what is there within so many seconds where nothing else runs."""
    return max(PATIENCE, BUSY * seconds)


def until(holds: Callable[[], T | None], seconds: float, what: str, *, nap: float = NAP) -> T:
    """What ``holds`` yields, once it is true; AssertionError with ``what`` where it never is.

    ``seconds`` are what it takes at most where nothing else runs; it is waited for longer.
    ``nap`` are seconds between two looks, at least: as many as a look takes, where that is more,
    and a second at most.
    """
    end = (began := time.monotonic()) + (longest := patience(seconds))
    while not (value := holds()):
        if (now := time.monotonic()) > end:
            raise AssertionError(f"not within {longest:g} s: {what} (last: {value!r})")
        time.sleep(max(nap, min(now - began, 1.0)))
        began = time.monotonic()
    return value


@contextmanager
def repeating(work: Callable[[], object], seconds: float) -> Iterator[None]:
    """Works again and again in a thread, so many seconds apart, until the end of the block, where
    it is raised what the work has raised."""
    over, wrong = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not over.wait(seconds):
                work()
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)
    if wrong:
        raise wrong[0]
