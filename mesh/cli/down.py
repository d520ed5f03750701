"""``mesh lab down``: destroy the lab by the engine, and remove what is left."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from mesh.cli.engine import (
    EngineMissing,
    Interrupted,
    one_at_a_time,
    recover,
    run_engine,
    stack_exists,
)
from mesh.cli.environment import checkout, engine_folder, environment, lab_name, state_folder
from mesh.cli.exits import fail, interrupted
from mesh.cli.stacks import readable
from mesh.cli.working_copy import STACK, EngineFailed
from mesh.infra.ending import DESTROY, GIVEN_UP, ending
from mesh.lab.world import clear_world, stands
from mesh.preview.state import made


def down() -> None:
    """Remove the lab; works also after a killed run and without any state.

    Exit codes: 0 nothing is up any more; 1 this is not Linux, or not root;
    130 interrupted.
    """
    console = Console(highlight=False)
    if sys.platform != "linux" or os.geteuid() != 0:
        fail("the lab needs Linux and root: run `sudo make down`")
    root = checkout()
    state = state_folder(root)
    env = environment(root, state)
    config = state / f"Pulumi.{STACK}.yaml"
    try:
        with one_at_a_time(state):
            known = config.exists() and stack_exists(state / "state")
            deployed = known and holds_resources(root, state, env)
            stood = stands(lab_name())
            if deployed and not _destroy(root, state, config, env):
                console.print("the engine could not destroy the lab; clearing it by force")
                _forget(root, state, env)
            clear_world(lab_name())
    except (Interrupted, KeyboardInterrupt):
        interrupted("run `make down` again to go on")
    console.print("the lab is gone" if deployed or stood else "nothing is up")


def holds_resources(root: Path, state: Path, env: dict[str, str]) -> bool:
    """Whether the stack's state holds anything to destroy; if in doubt, it does.

    A destroy runs the program, which first creates what is missing; so an empty stack has none.
    """
    if not (engine_folder(root) / "pulumi").exists():
        return True
    recover(root, state, env)
    try:
        document = readable(STACK).state()
    except EngineFailed:
        return True
    return "deployment" not in document or bool(made(document))


def _destroy(root: Path, state: Path, config: Path, env: dict[str, str]) -> bool:
    """Let the engine destroy what it deployed, also what it protects and what has left the
    program, as `mesh destroy` does."""
    try:
        status = run_engine(
            [*DESTROY, *GIVEN_UP],
            root=root,
            state=state,
            config=config,
            environment=ending(env),
        )
    except EngineMissing:
        return False
    return status == 0


def _forget(root: Path, state: Path, env: dict[str, str]) -> None:
    """Remove the stack's state: what it describes is about to be cleared."""
    _stack(root, state, env, "stack", "rm", STACK, "--force", "--yes", "--preserve-config")


def _stack(
    root: Path, state: Path, env: dict[str, str], *command: str
) -> subprocess.CompletedProcess[str]:
    """Run the engine on the stack's state alone. Its errors are shown, its output is not."""
    pulumi = engine_folder(root) / "pulumi"
    argv = [str(pulumi), "--non-interactive", "-C", str(state), *command]
    if not pulumi.exists():
        return subprocess.CompletedProcess(argv, 127, "")
    return subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=False)
