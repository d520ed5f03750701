"""Runs every test, in four processes side by side: twins, other labs, agents, and all the rest.
`make lint` runs beside them: mypy is one process, and before the tests it would leave the other
processors without work for a minute.

Labs share what the kernel gives a user (inotify instances): there is room for a twin of seven nodes
and a small lab, and for no two twins, so that twins and other labs are one process each, with one
lab at a time. Agents with their daemons in namespaces take hardly any of it, and tests of theirs
run in order, as those of labs do. All three wait for most of their time. The rest needs processors,
which several workers share, and takes what the others leave of them: BFD ends a session whose
daemon has none for half a second. What the others print comes when all is done.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from types import FrameType

import pytest

# What is missing on this machine is no reason to pass.
PYTEST = (sys.executable, "-m", "pytest", "--whole")
# A file's tests share daemons and stacks, and stay in their order. The longest files are first
# (tests/conftest.py), and not those with the most tests.
WORKERS = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
TWINS = (*PYTEST, "-m", "twin and not slow")
BESIDE = (
    ("nice", "-n", "5", *PYTEST, "-m", "lab and not twin and not beside_labs and not slow"),
    ("nice", "-n", "5", *PYTEST, "-m", "beside_labs and not slow"),
    ("nice", "-n", "10", *PYTEST, *WORKERS, "-m", "not lab and not beside_labs and not slow"),
)
LINT = ("nice", "-n", "10", "make", "--no-print-directory", "lint")


def main() -> int:
    """The exit code: 0 where all passed. Of chosen tests there may be none for some processes;
    without a choice, types and style are checked as well."""
    arguments = sys.argv[1:]
    beside = [*((*words, *arguments) for words in BESIDE), *([] if arguments else [LINT])]
    with ExitStack() as stack:
        kept = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in beside]
        # Each in a process group of its own: who ends this run ends workers and engines as well.
        runs = [subprocess.Popen([*TWINS, *arguments], process_group=0)]
        runs += [
            subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, process_group=0)
            for words, out in zip(beside, kept, strict=True)
        ]

        def end(_number: int, _frame: FrameType | None) -> None:
            for each in runs:
                with suppress(ProcessLookupError):
                    os.killpg(each.pid, signal.SIGINT)

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        codes = [run.wait() for run in runs]
        for out in kept:
            out.seek(0)
            sys.stdout.write(out.read())
    ran = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED] or codes
    return next((code for code in ran if code), 0)


if __name__ == "__main__":
    sys.exit(main())
