"""Work inside a network namespace: the lab's operator must not speak over the host's routes."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class NoWayIn(Exception):
    """The namespace is not there, or not ours to enter."""


_FOLDER = Path("/run/netns")
_CLONE_NEWNET = 0x40000000


def inside(name: str | None, work: Callable[[], T]) -> T:
    """Runs ``work`` in the namespace of that name under ``/run/netns``; None is where we are.

    In a thread of its own, which ends afterwards: a namespace belongs to a thread, and the
    caller's stays what it is. Raises what ``work`` raises, :class:`NoWayIn` where there is none.
    """
    if name is None:
        return work()
    result: list[T] = []
    errors: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(_FOLDER / name)
            result.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_work, name=f"netns-{name}", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def _enter(path: Path) -> None:
    """``setns`` by libc: Python has it from 3.12 on only."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NoWayIn(f"namespace {path.name}: {error.strerror}") from None
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise NoWayIn(f"namespace {path.name}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)
