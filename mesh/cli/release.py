"""``mesh release``: lifts the deletion protection of a node's addresses."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from mesh.cli.announcing import last, live_announcers
from mesh.cli.exits import ExitCode, fail, failing
from mesh.cli.preview import known
from mesh.cli.stacks import chosen
from mesh.cli.working_copy import STACK, EngineFailed
from mesh.hanging import Hanging
from mesh.preview.state import read_state
from mesh.spec import SpecError


def release(
    node: Annotated[str, typer.Argument(help="Id of the node.")],
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")] = STACK,
    force: Annotated[
        bool, typer.Option("--force", help="Even the last node that announces a prefix.")
    ] = False,
) -> None:
    """Lift the protection of a node's addresses, so that they can go with it.

    Nothing is deleted: take the node out of the stack file, and `pulumi up` deletes it. While the
    node stays in the stack file, the next `pulumi up` protects them again, as `mesh preview` shows.

    Exit codes: 0 done, or nothing was protected; 1 it failed; 3 refused,
    since no other node announces a prefix in effect.
    """
    with failing(SpecError, EngineFailed), chosen(stack) as target:
        held = known(read_state(target.state()), node)
        protected = [each for each in held if each.protected]
        if protected and not force:
            _refuse_the_last(stack, node)
        for each in protected:
            target.unprotect(each.urn)
            typer.echo(f"released {each.urn.rpartition('::')[2]}")
    if not protected:
        typer.echo(f"{node} has nothing that is protected")


def _refuse_the_last(stack: str, node: str) -> None:
    """End with 3 where the node alone announces a prefix; warn where no registry can be asked.
    `mesh preview --gate` checks it again before the node is deleted."""
    found = live_announcers(stack)
    if found.announcing is None:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        text = f"it could not be asked whether others announce what {node} does: {found.why}"
        console.print(Hanging(text, "yellow", "warning:"))
        return
    alone = last(found, node)
    if alone:
        fail(
            f"{node}: no other node is known to announce {', '.join(alone)}; bring another node up "
            "first (mesh status), or insist (--force)",
            ExitCode.REFUSED,
        )
