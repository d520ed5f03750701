"""Progress of steps that run at the same time, one tidy line per event."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from setup.failure import SetupFailure

BEAT = 5.0  # seconds between two lines on what is still running
TAIL = 15  # lines of a failed command's output that are shown


def duration(seconds: float) -> str:
    """Return seconds for display: ``42 s``, ``3 min 05 s``."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


class Progress:
    """Prints what each step does, and every few seconds what is still running."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._running: dict[str, str] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Progress:
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def show(self, step: str, text: str) -> None:
        """Print one line at once."""
        self._print(f"{step}: {text}")

    def doing(self, step: str, text: str) -> None:
        """Note what ``step`` is busy with; it is printed with the next beat."""
        with self._lock:
            self._running[step] = text

    def done(self, step: str) -> None:
        """Forget ``step``: it no longer runs."""
        with self._lock:
            self._running.pop(step, None)

    def _print(self, text: str) -> None:
        with self._lock:
            elapsed = duration(time.monotonic() - self._began)
            print(f"[{elapsed:>12}] {text}", file=self._out, flush=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with self._lock:
                busy = " | ".join(f"{step}: {text}" for step, text in self._running.items())
            if busy:
                self._print(busy)


class Step:
    """One step: its name and log file; it prints progress and runs commands.

    ``held`` are descriptors of locks that its commands inherit: if only this process is killed,
    the next set-up waits for the command instead of working on the same files.
    """

    def __init__(self, name: str, progress: Progress, log: Path, held: Sequence[int] = ()) -> None:
        self._held = tuple(held)
        self.name = name
        self.log = log
        self._progress = progress

    def show(self, text: str) -> None:
        """Print one line at once."""
        self._progress.show(self.name, text)

    def doing(self, text: str) -> None:
        """Set what the step is busy with; printed with the next beat."""
        self._progress.doing(self.name, text)

    def done(self) -> None:
        """The step has ended, with or without success."""
        self._progress.done(self.name)

    def run(
        self,
        command: Sequence[str],
        *,
        seen: Callable[[str], None] = lambda _line: None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        keep_open: Sequence[int] = (),
        timeout: float | None = None,
    ) -> None:
        """Run ``command``, its output into the log and line by line to ``seen``.

        ``keep_open`` are further descriptors that the command inherits. ``timeout`` in seconds
        kills it. Raises SetupFailure with the end of the output.
        """
        tail: deque[str] = deque(maxlen=TAIL)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            print(f"$ {' '.join(command)}", file=log, flush=True)
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, **env} if env else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(*self._held, *keep_open),
            )
            alarm = threading.Timer(timeout, process.kill) if timeout else None
            if alarm:
                alarm.start()
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                tail.append(line.rstrip())
                seen(line.rstrip())
            status = process.wait()
            if alarm:
                alarm.cancel()
        if status != 0:
            shown = "\n    ".join(tail)
            raise SetupFailure(
                f"{self.name}: `{Path(command[0]).name}` ended with status {status}:\n"
                f"    {shown}\n  The whole output is in {self.log}. Run the same command "
                "again: what was finished is kept."
            )
