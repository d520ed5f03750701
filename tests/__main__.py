"""Runs every test: those that boot containers beside all others, in two processes.

Labs share what the kernel gives a user (inotify instances), so that no two of them stand at the
same time; the rest needs a processor only. What the rest prints comes when the labs are done.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from types import FrameType

PYTEST = (sys.executable, "-m", "pytest")
LABS, OTHERS = "lab and not slow", "not lab and not slow"


def main() -> int:
    """The exit code: 0 where both passed."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryFile("w+") as kept:
        others = subprocess.Popen(
            [*PYTEST, "-m", OTHERS, *arguments], stdout=kept, stderr=subprocess.STDOUT
        )
        labs = subprocess.Popen([*PYTEST, "-m", LABS, *arguments])

        def end(_number: int, _frame: FrameType | None) -> None:
            for each in (labs, others):
                each.send_signal(signal.SIGINT)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        codes = (labs.wait(), others.wait())
        kept.seek(0)
        sys.stdout.write(kept.read())
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
