"""Runs the engine on the lab stack: one run at a time, and past what a killed one left."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mesh.cli.environment import engine_folder
from mesh.cli.working_copy import STACK


class EngineMissing(Exception):
    """The set-up has not been run, or its cache is gone."""


def run_engine(
    command: list[str], *, root: Path, state: Path, config: Path, environment: Mapping[str, str]
) -> int:
    """Run ``pulumi COMMAND`` on the lab stack with its output shown; returns its exit status.

    A stack that a killed engine left locked is unlocked first.
    """
    pulumi = str(engine_folder(root) / "pulumi")
    if not os.access(pulumi, os.X_OK):
        raise EngineMissing("the Pulumi engine is not set up in this checkout: run `make setup`")
    chosen = ["--stack", STACK, "--config-file", str(config)]
    if abandoned(state / "state"):
        cancel = [pulumi, "--non-interactive", "cancel", "--yes", *chosen]
        subprocess.run(cancel, cwd=root, env=environment, check=False)
    return subprocess.run(
        [pulumi, *command, *chosen], cwd=root, env=environment, check=False
    ).returncode


@contextmanager
def one_at_a_time(state: Path) -> Iterator[None]:
    """Hold the lab's state folder while the engine runs; a second run waits, saying so."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "deploy.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another run works on this lab; waiting for it to end", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def abandoned(backend: Path) -> bool:
    """Tell whether the stack is locked by processes that are all gone.

    The file backend notes host and process in ``.pulumi/locks`` (its own way of locking).
    """
    locks = list((backend / ".pulumi" / "locks").rglob("*.json"))
    return bool(locks) and not any(_alive(lock) for lock in locks)


def stack_exists(backend: Path) -> bool:
    """Tell whether the file backend knows the stack (``.pulumi/stacks/<project>/<stack>.json``)."""
    return any((backend / ".pulumi" / "stacks").rglob(f"{STACK}.json"))


def _alive(lock: Path) -> bool:
    """Whether the process that a lock names still runs; if in doubt, it does."""
    try:
        process = int(json.loads(lock.read_text())["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return Path(f"/proc/{process}").exists()
