"""Waiting: limited, shown, and ended within a second by SIGINT or SIGTERM."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from mesh.infra.providers.vultr.v2 import errors
from mesh.infra.providers.vultr.v2.errors import ApiError
from mesh.spec.problems import Problem

T = TypeVar("T")
Progress = Callable[[str], None]

FIRST, GROWTH, LONGEST = 1.0, 1.25, 10.0
"""Seconds before the first look and between later ones."""
NOTICED = 0.5
"""Seconds until a request that hangs notices an interruption."""
SHOWN = 10.0
"""Seconds between two lines about the same state; a new state is shown at once."""

_interrupted = threading.Event()


def ends_by(interrupted: threading.Event) -> None:
    """Let this event end all waiting in this process."""
    global _interrupted
    _interrupted = interrupted


def is_interrupted() -> bool:
    """Whether this process is about to end."""
    return _interrupted.is_set()


def pause(seconds: float, what: str) -> None:
    """Sleep; :class:`ApiError` of kind ``stopped`` at an interruption."""
    if _interrupted.wait(seconds):
        raise errors.stopped(what)


def interruptibly(work: Callable[[], T], what: str) -> T:
    """Do the work in its own thread, which is abandoned when this process is to end: a request that
    hangs cannot be cancelled."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name=what, daemon=True).start()
    while not done.done():
        wait([done], timeout=NOTICED)
        if is_interrupted() and not done.done():
            raise errors.stopped(what)
    return done.result()


@dataclass(frozen=True, slots=True)
class Observed(Generic[T]):
    """The result of a look: its state as a text, and ``value`` once it is what is waited for."""

    state: str
    value: T | None = None


def delays() -> Iterator[float]:
    """Seconds to wait before each look."""
    delay = FIRST
    while True:
        yield delay
        delay = min(delay * GROWTH, LONGEST)


def until(
    look: Callable[[], Observed[T]],
    what: str,
    bound: float,
    progress: Progress,
    *,
    at_once: bool = False,
    goal: str = "ready",
    cure: str = errors.LATER,
) -> T:
    """Look until the value is there, at most ``bound`` seconds. The state of ``what`` is shown:
    "lax-vultr-1: pending for 40 s". With ``at_once`` the first look comes before any waiting.
    ``goal`` is what it is not after ``bound`` seconds, ``cure`` what to do then."""
    begun = entered = shown = time.monotonic()
    state = ""
    for delay in delays():
        if not at_once:
            pause(min(delay, max(0.1, begun + bound - time.monotonic())), what)
        at_once = False
        seen = look()
        if seen.value is not None:
            return seen.value
        now = time.monotonic()
        if now - begun >= bound:
            reason = f"it is not {goal} after {bound:.0f} s ({seen.state})"
            raise ApiError("waiting", Problem(what, seen.state, reason, cure))
        if seen.state != state:
            progress(f"{what}: {seen.state}")
            state, entered, shown = seen.state, now, now
        elif now - shown >= SHOWN:
            progress(f"{what}: {state} for {now - entered:.0f} s")
            shown = now
    raise AssertionError("delays do not end")
