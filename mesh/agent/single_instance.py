"""One agent at a time on a node: two would undo each other's changes."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from mesh.agent import log
from mesh.agent.host import Host

LOCK = "/run/anycast-mesh/agent.lock"
WAIT = 0.5
"""Seconds between two tries to get the lock."""


@contextmanager
def alone(host: Host, stop: threading.Event) -> Iterator[bool]:
    """Waits until no other agent runs, and makes others wait; False if ``stop`` was set before.
    Exiting instead of waiting would start the time until the node withdraws. The kernel releases
    the lock when the process ends. If the lock's file cannot be made, the agent runs without."""
    target = host.path(LOCK)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        log.warning("lock", reason=error)
        yield True
        return
    try:
        yield _is_ours(descriptor, stop)
    finally:
        os.close(descriptor)


def _is_ours(descriptor: int, stop: threading.Event) -> bool:
    logged = False
    while not stop.is_set():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not logged:
                log.warning("waiting", reason="another agent runs on this node")
            logged = True
            stop.wait(WAIT)
        else:
            return True
    return False
