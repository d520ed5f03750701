"""Runs a program where what Windows and macOS lack is missing: ``without_unix.py PROGRAM WORD…``.

It takes away what a Python has on Linux only, before anything of the mesh is imported. Nobody has
run the mesh on those systems; this shows that it asks for nothing of the kind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import warnings
from typing import Any

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "readline")
NAMES: dict[Any, tuple[str, ...]] = {
    os: (
        "setns", "unshare", "geteuid", "getuid", "getegid", "getgid", "fork", "chown", "fchown",
        "lchown", "fchmod", "getpgid", "killpg", "setsid", "mkfifo", "sched_getaffinity", "uname",
        "O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC", "memfd_create", "pidfd_open", "statvfs",
    ),
    signal: ("SIGKILL", "SIGSTOP", "SIGCONT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCHLD",
             "SIGPIPE", "SIGALRM", "alarm", "pthread_sigmask"),
    socket: ("AF_NETLINK", "AF_PACKET", "SO_BINDTODEVICE"),
}  # fmt: skip


class _Library(ctypes.CDLL):
    """``CDLL(None)``, the C library, is a TypeError on Windows."""

    def __init__(self, name: Any, *words: Any, **more: Any) -> None:
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *words, **more)


def take_away() -> None:
    """Make this Python such a one, and the encoding of a file a thing to be named."""
    sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type]
    for holder, names in NAMES.items():
        for name in names:
            if hasattr(holder, name):
                delattr(holder, name)
    ctypes.CDLL = _Library  # type: ignore[misc]
    warnings.filterwarnings("error", category=EncodingWarning, module=r"mesh\.")


if __name__ == "__main__":
    take_away()
    program, *sys.argv[1:] = sys.argv[1:]
    exec(program)
