"""Health check: a program of the operator's, which the node starts.

The program is a file that only root can have put there. It runs in a unit of its own, as a user of
its own, and is ended with all that it has started when its time is over.
"""

from __future__ import annotations

import itertools
import os
import selectors
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from mesh.foreign import lines
from mesh.services.checks.check import HealthCheck, Target, why

FOLDER = Path("/etc/anycast-mesh/checks")
"""Where an operator puts programs for checks on a node."""
UNIT = "anycast-mesh-check-"
"""The beginning of the names of the units in which they run."""
OUTPUT = 4096
"""How many bytes of a program's output are read."""
LONGEST_REASON = 200
START = 1.0
"""Seconds that systemd may take to start and to end a unit, beside the program's own time."""
CONFINED = (
    "DynamicUser=yes",
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectControlGroups=yes",
    "RestrictNamespaces=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "MemoryMax=64M",
    "MemorySwapMax=0",
    "TasksMax=32",
    "KillMode=control-group",
    "SendSIGKILL=yes",
    "TimeoutStopSec=0.1",
    "KillSignal=SIGKILL",
)
"""Properties of the units (systemd.exec(5), systemd.resource-control(5), systemd.kill(5))."""

_counter = itertools.count(1)

Argument = Annotated[str, StringConstraints(pattern=r"^[ -~]*$", max_length=200)]
"""One argument of a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecCheck(HealthCheck):
    """Healthy if a program ends with status 0 in time. It asks what it likes, in its own way."""

    per_family: ClassVar[bool] = False
    again: ClassVar[float] = 1.0

    kind: Literal["exec"] = "exec"
    """Good where the program ``command`` of the node ends with status 0."""
    interval: Annotated[float, Field(ge=0.1, le=60)] = 5.0
    """Seconds between two questions."""
    timeout: Annotated[float, Field(ge=0.1, le=60)] | None = 2.0
    """Seconds after which the program is killed."""
    command: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of a file in ``/etc/anycast-mesh/checks`` on the node, which belongs to root and which
    nobody else may write."""
    arguments: Annotated[tuple[Argument, ...], Field(max_length=16)] = ()
    """What it is called with; no shell reads it."""

    @property
    def subject(self) -> str:
        """The kind and the program."""
        return f"{self.kind} {self.command}"

    @property
    def longest(self) -> float:
        """The program's time, and systemd's."""
        return self.within + START

    def problem(self, target: Target) -> str:
        """Runs the program; why it does not end with status 0."""
        refused = unsafe(FOLDER, self.command)
        return refused or self._run()

    def _run(self) -> str:
        began = time.monotonic()
        try:
            process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={},
            )
        except OSError as error:
            return f"systemd-run: {why(error, self.within)}"
        with process:
            output = _output(process, began + self.within + START)
            if output is None:
                process.kill()
                return f"no end within {self.within:g} s"
            status = process.wait()
        if status == 0:
            return ""
        if time.monotonic() - began >= self.within:
            return f"no end within {self.within:g} s"
        said = next(lines(output.decode("utf-8", "replace")), "")
        return said[:LONGEST_REASON] or f"exit status {status}"

    def _command(self) -> list[str]:
        unit = f"{UNIT}{os.getpid()}-{next(_counter)}"
        properties = [f"--property={each}" for each in CONFINED]
        limit = f"--property=RuntimeMaxSec={self.within:g}"
        own = ("systemd-run", "--wait", "--pipe", "--collect", "--quiet", f"--unit={unit}")
        # systemd puts variables into arguments, but for a doubled dollar sign (systemd.service(5)).
        arguments = (each.replace("$", "$$") for each in self.arguments)
        # It gives a unit some variables, which `env -i` takes away.
        program = ("/usr/bin/env", "-i", str(FOLDER / self.command), *arguments)
        return [*own, *properties, limit, "--", *program]


def unsafe(folder: Path, name: str) -> str:
    """Why a program must not be run; empty where it is a file that only root can have put there."""
    for path, is_right, what in (
        (folder, stat.S_ISDIR, "a folder"),
        (folder / name, stat.S_ISREG, "a regular file"),
    ):
        try:
            found = path.lstat()
        except OSError as error:
            return f"{path}: {why(error, 0)}"
        if not is_right(found.st_mode):
            return f"{path} is not {what}"
        if found.st_uid != 0:
            return f"{path} does not belong to root"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{path} may be written by others than root (chmod go-w)"
    if not found.st_mode & stat.S_IXUSR:
        return f"{folder / name} is not executable (chmod +x)"
    return ""


def _output(process: subprocess.Popen[bytes], end: float) -> bytes | None:
    """The beginning of what a process writes until it ends; None where it does not end in time."""
    assert process.stdout is not None
    kept = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := end - time.monotonic()) > 0:
            if not selector.select(left):
                break
            # What is over the limit is read as well, so that the writer does not wait.
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                return kept
            kept = (kept + piece)[:OUTPUT]
    return None
