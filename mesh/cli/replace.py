"""``mesh replace``: a new server for one node, if the gate allows it."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh.cli.engine import Interrupted
from mesh.cli.exits import ExitCode, failing, interrupted
from mesh.cli.preview import ByPlan, RestartSessions, judge, server_of, show
from mesh.cli.rollout_options import RolloutOptions
from mesh.cli.stacks import chosen
from mesh.cli.working_copy import STACK, EngineFailed
from mesh.preview.gate import Asked, Limit
from mesh.preview.steps import Unreadable
from mesh.spec import SpecError


def replace(
    node: Annotated[str, typer.Argument(help="Id of the node.")],
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")] = STACK,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    restart_sessions: RestartSessions = False,
    by_plan: ByPlan = False,
) -> None:
    """Replace the server of one node; its addresses stay.

    Whatever else the stack file changes is part of the same update. All of it is judged as by
    `mesh preview --gate`: the last node that announces a prefix in effect is not replaced.

    Exit codes: 0 done; 1 it failed, or nobody agreed; 3 the gate refuses; 130
    interrupted.
    """
    try:
        with failing(SpecError, EngineFailed, Unreadable), chosen(stack) as target:
            wanted = ("--replace", server_of(target, node))
            asked = Asked(frozenset({node}), restart_sessions=restart_sessions, by_plan=by_plan)
            judged = judge(target.preview(*wanted), asked, Limit(), stack)
            show(judged.summary, judged.refused)
            if judged.summary.errors:
                raise typer.Exit(ExitCode.FAILED)
            if judged.refused:
                raise typer.Exit(ExitCode.REFUSED)
            if not yes:
                typer.confirm(f"Replace the server of {node}?", abort=True)
            choices = RolloutOptions(accept_outage=restart_sessions)
            status = target.up(*wanted, variables=choices.variables())
    except (Interrupted, KeyboardInterrupt):
        interrupted(_again(node, stack))
    if status:
        # The engine has shown why. A later update undrains nodes with a new server only.
        typer.echo(_again(node, stack), err=True)
        raise typer.Exit(ExitCode.FAILED)


def _again(node: str, stack: str) -> str:
    """What to do after a replacement that did not come to its end."""
    return (
        f"if {node} still has its server, it may be drained, and stays so: "
        f"`mesh replace {node} --stack {stack}` again, or `mesh undrain {node} --stack {stack}`; "
        f"if it has none, `pulumi up` makes it"
    )
