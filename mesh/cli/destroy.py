"""``mesh destroy``: the end of a network, which leaves nothing behind in the stack file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from mesh.cli.engine import Interrupted
from mesh.cli.exits import ExitCode, failing, interrupted
from mesh.cli.stacks import chosen
from mesh.cli.working_copy import EngineFailed
from mesh.preview.kinds import OPERATOR, ResourceKind, kind_of
from mesh.preview.state import made


def destroy(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """End a network: servers, addresses and the operator's key all go.

    First the fleet is ordered to withdraw for good, then servers drain and
    are deleted, registries last. What is protected goes too. Neither the
    stack file nor the state is changed beforehand: where nobody agrees
    nothing has changed, and what an interrupted run left is as protected as
    it was.

    Exit codes: 0 nothing is left; 1 it failed, or nobody agreed; 130
    interrupted.
    """
    begun = False
    try:
        with failing(EngineFailed), chosen(stack) as target:
            left = made(target.state())
            if not left:
                typer.echo(f"stack {stack}: nothing is deployed")
                return
            # It runs the program, whose errors are shown before anybody agrees.
            target.destroy_preview()
            _show(stack, left)
            if not yes:
                _agree(stack)
            begun = True
            status = target.destroy()
    except (Interrupted, KeyboardInterrupt):
        then = f"`mesh destroy --stack {stack}` goes on from where it was"
        interrupted(then if begun else "nothing has changed")
    if status:
        raise typer.Exit(ExitCode.FAILED)  # the engine has shown why
    typer.echo(
        f"stack {stack}: nothing is left. Its file is as it was; `pulumi stack rm {stack} "
        "--preserve-config` forgets its history"
    )


def _show(stack: str, left: list[Mapping[str, Any]]) -> None:
    kinds = {kind: _names(left, kind) for kind in (ResourceKind.SERVER, ResourceKind.ADDRESS)}
    shown = sum(map(len, kinds.values()))
    typer.echo(f"stack {stack}: this ends the network for good")
    typer.echo(f"  servers deleted:      {', '.join(kinds[ResourceKind.SERVER]) or 'none'}")
    typer.echo(f"  addresses given back: {', '.join(kinds[ResourceKind.ADDRESS]) or 'none'}")
    if any(each["type"] == OPERATOR for each in left):
        shown += 1
        typer.echo("  the operator's key:   no node takes anything from this stack any more")
    typer.echo(f"  and {len(left) - shown} other resources")


def _names(left: list[Mapping[str, Any]], kind: ResourceKind) -> list[str]:
    return sorted(
        str(each["urn"]).rpartition("::")[2] for each in left if kind_of(each["type"]) is kind
    )


def _agree(stack: str) -> None:
    """Have the stack's name typed; end with 1 where it is not."""
    try:
        typed = typer.prompt(f"Type the name of the stack ({stack}) to destroy it")
    except typer.Abort:
        typer.echo("\nnobody agreed (or give --yes): nothing has changed")
        raise typer.Exit(ExitCode.FAILED) from None
    if typed.strip() != stack:
        typer.echo("that is not its name: nothing has changed")
        raise typer.Exit(ExitCode.FAILED)
