"""``mesh rollout``: one update of a stack, and how it goes out."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh.cli.engine import Interrupted
from mesh.cli.exits import ExitCode, failing, interrupted
from mesh.cli.preview import show
from mesh.cli.rollout_options import AcceptOutage, Now, RolloutOptions, Without
from mesh.cli.stacks import Stack, chosen
from mesh.cli.working_copy import STACK, EngineFailed
from mesh.preview.state import read_state
from mesh.preview.steps import Unreadable, read
from mesh.preview.summary import summarise
from mesh.spec import SpecError


def rollout(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack to deploy.")] = STACK,
    now: Now = False,
    accept_outage: AcceptOutage = False,
    without: Without = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Neither preview it first nor ask.")
    ] = False,
) -> None:
    """Update a stack as `pulumi up` does, and choose how it goes out.

    An update reaches one node of each kind first, then the others in waves.
    It stops at the first node that is not as well as before, brings back what
    was in force, and says which node and why.

    The options hold for this run alone. --now and --accept-outage darken what
    waves would keep up; --without goes on where a node that is broken, or
    that says of others what is not so, has stopped an update.

    Exit codes: 0 done; 1 it failed or has stopped, or nobody agreed; 2 nothing
    was done, since the stack has no such node; 130 interrupted.
    """
    options = RolloutOptions(now, accept_outage, tuple(without or ()))
    try:
        with failing(EngineFailed, Unreadable, SpecError), chosen(stack) as target:
            if options.without:
                with failing(SpecError, code=ExitCode.UNUSABLE):
                    options.check(read_state(target.state()))
            options.show()
            if not yes:
                _agree(target)
            status = target.up(variables=options.variables())
    except (Interrupted, KeyboardInterrupt):
        interrupted("the next `mesh rollout` or `pulumi up` goes on from where it was")
    if status:
        raise typer.Exit(ExitCode.FAILED)  # the engine has shown why


def _agree(target: Stack) -> None:
    """Show what changes, and ask; end with 1 where the preview fails or nobody agrees."""
    summary = summarise(read(target.preview()))
    show(summary)
    if summary.errors:
        raise typer.Exit(ExitCode.FAILED)
    typer.confirm(f"Update {target.name}?", abort=True)
