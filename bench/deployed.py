"""A lab of the benches' own, beside the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cost import measured
from mesh.cli.environment import checkout, environment, state_folder
from mesh.lab.world import clear_world

NAME = "bench"


def run(command: list[str], folder: Path, env: dict[str, str]) -> None:
    """Run a command; SystemExit with its output where it fails."""
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")


def mesh(*arguments: str) -> float:
    """Seconds that `mesh …` takes in the benches' lab."""
    root = checkout()
    command = [sys.executable, "-m", "mesh.cli.main", *arguments]
    return measured(lambda: run(command, root, env())).wall


def env() -> dict[str, str]:
    """The engine's environment for the benches' lab."""
    os.environ["MESH_LAB"] = NAME
    return environment(checkout())


@contextmanager
def cleared() -> Iterator[Path]:
    """The state folder of a lab that does not exist yet, and is gone afterwards."""
    os.environ["MESH_LAB"] = NAME
    state = state_folder(checkout())
    clear_world(NAME)
    shutil.rmtree(state, ignore_errors=True)
    try:
        yield state
    finally:
        clear_world(NAME)
        shutil.rmtree(state, ignore_errors=True)
