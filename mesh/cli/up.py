"""``mesh lab up``: the twin of the production stack, deployed by the real engine."""

from __future__ import annotations

import os
import time

import typer
from rich.console import Console
from rich.markup import escape

from mesh.cli.answers import show
from mesh.cli.engine import EngineMissing, Interrupted, one_at_a_time, run_engine
from mesh.cli.environment import checkout, environment, lab_name, state_folder
from mesh.cli.working_copy import STACK, prepare
from mesh.plan import make
from mesh.spec import SpecError, load_file

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def up() -> None:
    """Deploy the lab and show who answers whom."""
    console = Console(highlight=False)
    if os.geteuid() != 0:
        raise _stop(console, "the lab needs root (namespaces, containers): run `sudo make up`")
    root = checkout()
    state, began = state_folder(root), time.monotonic()
    env = environment(root, state)
    try:
        with one_at_a_time(state):
            config = prepare(root, state, env)
            # The engine's own preview would only say the same twice: the stack is the lab's.
            # With a refresh first, because a restart of this machine takes every node with it.
            status = run_engine(
                ["up", "--yes", "--skip-preview", "--refresh", "--suppress-outputs"],
                root=root,
                state=state,
                config=config,
                environment=env,
            )
            plan = make(load_file(STACK, root, config).spec)
    except (Interrupted, KeyboardInterrupt):
        console.print("interrupted; run `make up` again to go on")
        raise typer.Exit(INTERRUPTED) from None
    except SpecError as error:
        raise _stop(console, "\n".join(map(str, error.problems))) from None
    except (EngineMissing, RuntimeError) as error:
        raise _stop(console, str(error)) from None
    if status != 0:
        # Not above: typer.Exit is a RuntimeError. The engine has said why.
        raise typer.Exit(status)
    console.print(f"deployed in {time.monotonic() - began:.1f} s")
    if not show(plan, lab_name(), console):
        raise _stop(console, "some clients get no answer: see `mesh status` and `mesh lab list`")


def _stop(console: Console, reason: str) -> typer.Exit:
    """Say why we stop; the exit to raise."""
    console.print(f"[red]error:[/] {escape(reason)}", soft_wrap=True)
    return typer.Exit(1)
