"""``mesh lab down``: destroy the lab by the engine, and clear away whatever still stands."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import typer
from rich.console import Console

from mesh.cli.engine import EngineMissing, one_at_a_time, run_engine, stack_exists
from mesh.cli.environment import checkout, engine_folder, environment, lab_name, state_folder
from mesh.cli.working_copy import STACK
from mesh.lab.world import clear_world


def down() -> None:
    """Remove the lab; works also after a killed run and without any state."""
    console = Console(highlight=False)
    if os.geteuid() != 0:
        console.print("[red]error:[/] the lab needs root: run `sudo make down`")
        raise typer.Exit(1)
    root = checkout()
    state = state_folder(root)
    env = environment(root, state)
    config = state / f"Pulumi.{STACK}.yaml"
    with one_at_a_time(state):
        known = config.exists() and stack_exists(state / "state")
        if known and not _destroy(root, state, config, env):
            console.print("the engine could not destroy the lab; clearing it by force")
            _forget(root, state, env)
        clear_world(lab_name())


def _destroy(root: Path, state: Path, config: Path, env: dict[str, str]) -> bool:
    """Let the engine destroy what it deployed. The program runs, for its deletion hooks and to
    give up what it protects: addresses and the operator's key."""
    command = ["destroy", "--yes", "--skip-preview", "--suppress-outputs"]
    try:
        status = run_engine(
            [*command, "--run-program", "--config", "mesh:protect=false"],
            root=root,
            state=state,
            config=config,
            environment=env,
        )
    except EngineMissing:
        return False
    return status == 0


def _forget(root: Path, state: Path, env: dict[str, str]) -> None:
    """Remove the stack's state: what it describes is about to be cleared."""
    _stack(root, state, env, "stack", "rm", STACK, "--force", "--yes", "--preserve-config")


def _stack(root: Path, state: Path, env: dict[str, str], *command: str) -> None:
    """Run the engine on the stack's state, where the engine and the state are still there."""
    pulumi = engine_folder(root) / "pulumi"
    if pulumi.exists():
        subprocess.run(
            [str(pulumi), "--non-interactive", "-C", str(state), *command],
            env=env,
            stdout=subprocess.DEVNULL,
            check=False,
        )
