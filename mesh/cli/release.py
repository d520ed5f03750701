"""``mesh release``: what a node has may be deleted, once it has left the stack file."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh import preview as previews
from mesh.cli.preview import fail, known
from mesh.cli.stacks import EngineFailed, chosen
from mesh.cli.working_copy import STACK
from mesh.spec import SpecError


def release(
    node: Annotated[str, typer.Argument(help="Id of the node.")],
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")] = STACK,
) -> None:
    """Lift the protection of a node's addresses, so that they can go with it.

    Nothing is deleted: take the node out of the stack file, and `pulumi up` deletes it. While the
    node stays in the stack file, the next `pulumi up` protects them again.
    """
    try:
        with chosen(stack) as target:
            held = known(previews.read_state(target.state()), node)
            protected = [each for each in held if each.protected]
            for each in protected:
                target.unprotect(each.urn)
                typer.echo(f"released {each.urn.rpartition('::')[2]}")
    except SpecError as error:
        fail("\n".join(map(str, error.problems)))
    except EngineFailed as error:
        fail(str(error))
    if not protected:
        typer.echo(f"{node} has nothing that is protected")
