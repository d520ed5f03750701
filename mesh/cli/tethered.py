"""Becomes a command that is interrupted when its parent dies, even of SIGKILL (Linux).

It is run as a script, ``tethered.py PARENT COMMAND…``, with the parent's process id. ``preexec_fn``
of ``subprocess`` could do the same, but runs Python between fork and exec, which may hang where
there are threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2): the signal that a process gets when its parent dies


def main() -> None:
    """Become the command, unless the parent is gone already."""
    # Python ignores two signals, which the command would inherit, and shows Ctrl-C as a traceback.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() == int(parent):
        os.execv(command[0], command)  # noqa: S606 - there is nothing for a shell to do
    sys.exit(1)


if __name__ == "__main__":
    main()
