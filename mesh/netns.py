"""Network namespaces of this machine, entered by a thread or a command."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

FOLDER = Path("/run/netns")
"""Where named namespaces are mounted (ip-netns(8))."""
_CLONE_NEWNET = 0x40000000


class NamespaceError(Exception):
    """The namespace does not exist, or cannot be entered."""


def exists(name: str) -> bool:
    """Whether a namespace of that name is mounted (its file alone is not one)."""
    try:
        return (FOLDER / name).stat().st_dev != FOLDER.stat().st_dev
    except FileNotFoundError:
        return False


def entering(name: str) -> list[str]:
    """The prefix of a command that runs it in the namespace of that name."""
    return ["nsenter", f"--net={FOLDER / name}", "--"]


def inside(name: str | None, work: Callable[[], T]) -> T:
    """Runs ``work`` in the namespace of that name; None is the present one.

    ``work`` runs in a thread of its own, since a namespace belongs to a thread. Raises what
    ``work`` raises, and :class:`NamespaceError` where the namespace cannot be entered.
    """
    if name is None:
        return work()
    result: list[T] = []
    errors: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            _enter(FOLDER / name)
            result.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_work, name=f"netns-{name}", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def leave() -> None:
    """Moves this thread to a new namespace, which ends with its last thread and socket. OSError
    where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "a network namespace")


def _enter(path: Path) -> None:
    """``setns`` by libc: Python has it from 3.12 on only."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NamespaceError(f"namespace {path.name}: {error.strerror}") from None
    try:
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            raise NamespaceError(f"namespace {path.name}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(descriptor)
