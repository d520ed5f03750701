"""Kernel limits of this machine that one more node could exceed."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from mesh.lab.errors import LabError

INSTANCES_PER_NODE = 12
"""Inotify instances of a booted node: six of systemd, one of each wireguard-go, a reserve."""

_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")


def check_inotify(needed: int = INSTANCES_PER_NODE) -> None:
    """LabError where this user has fewer inotify instances left.

    All containers of a user share the limit, which is 128 by default: beyond it wireguard-go ends
    with "too many open files" and the tunnel is missing. The lab changes no setting of its host.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[int] = []
    try:
        while len(held) < needed:
            descriptor = libc.inotify_init1(os.O_CLOEXEC)
            if descriptor < 0:
                raise LabError(
                    f"fs.inotify.max_user_instances = {_LIMIT.read_text().strip()}: a node needs "
                    f"{needed} inotify instances and {len(held)} are left; end another lab "
                    "(`mesh lab down`), or raise it: sysctl fs.inotify.max_user_instances=1024"
                )
            held.append(descriptor)
    finally:
        for descriptor in held:
            with suppress(OSError):
                os.close(descriptor)
