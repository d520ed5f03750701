"""``mesh adopt``: servers that a provider's plugin made become resources of our own."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from mesh.cli.exits import fail, failing
from mesh.cli.stacks import Stack, chosen
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import EngineFailed
from mesh.foreign import printable
from mesh.hanging import Hanging
from mesh.infra import providers
from mesh.infra.providers.accounts import StackAdoption, StateToBe
from mesh.spec import SpecError


def adopt(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Move a stack that Vultr's plugin made to Vultr's API.

    Each object is found in the account by the id in the state, and shown.
    Then the state is written anew (a copy of the old one is kept in this
    folder), and each object gets the network's mark into its label, name,
    description or tags. No server restarts, no address moves, and
    `mesh preview` shows neither touched.

    There is no way back to the plugin.

    Exit codes: 0 done, or there was nothing to adopt; 1 it failed, or nobody
    agreed.
    """
    with failing(SpecError, EngineFailed), chosen(stack) as target:
        document = target.state()
        adoption = adoption_class()(target)
        if not adoption.is_left(document):
            typer.echo(f"stack {stack}: nothing of {adoption.former} is in its state")
            return
        found = adoption.prepare(document)
        _show(stack, adoption, found)
        if not yes:
            typer.confirm("Write the state anew? There is no way back", abort=True)
        _write(target, adoption, document, found)
        _mark(stack, adoption)
    typer.echo(f"done; look at `mesh preview --stack {stack}`, then run `pulumi up`")


def adoption_class() -> type[StackAdoption]:
    """The class that moves a stack, from the provider whose driver once made other resources."""
    formers = (each.former for each in providers.DESCRIPTIONS.values())
    path = next(former.adoption for former in formers if former is not None)
    found: type[StackAdoption] = providers.named(path)
    return found


def _show(stack: str, adoption: StackAdoption, found: StateToBe) -> None:
    """What is written where."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    rows = table("resource", f"at {adoption.provider}", "id, its mark")
    for each in found.objects:
        lines = "\n".join(map(printable, (each.id, each.mark)))
        rows.add_row(escape(printable(each.name)), escape(printable(each.what)), escape(lines))
    console.print(f"stack {escape(stack)}: from {adoption.former} to {adoption.present}")
    console.print(rows)
    for note in found.notes:
        console.print(Hanging(note), soft_wrap=True)
    for warning in found.warnings:
        console.print(Hanging(warning, "yellow", "warning:"), soft_wrap=True)


def _write(stack: Stack, adoption: StackAdoption, before: dict[str, Any], found: StateToBe) -> None:
    """Write the state, unless somebody else has written it since."""
    kept = _keep(stack, before)
    typer.echo(f"the state as it was is kept in {kept}")
    if stack.state() != before:
        fail("the state has changed meanwhile: an update runs; wait for it, and adopt again")
    stack.replace_state(found.document)
    if adoption.is_left(stack.state()):
        fail("the engine took the state, and still has what the plugin made; nothing else was done")


def _keep(stack: Stack, document: dict[str, Any]) -> Path:
    """A copy that nobody else may read; one that is there already stays."""
    name = stack.name.replace("/", ".")
    copies = (stack.beside / f"{name}.state-before-adoption-{n}.json" for n in count(1))
    path = next(each for each in copies if not each.exists())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
    except OSError as error:
        fail(
            f"{path}: the state can't be kept there ({error.strerror}), and nothing was written; "
            "run it in a folder that you may write into"
        )
    return path


def _mark(stack: str, adoption: StackAdoption) -> None:
    """Write the marks. Where that fails the state is still right, and a refresh finds the rest."""
    try:
        count = adoption.mark()
    except SpecError as error:
        problems = "\n".join(map(str, error.problems))
        fail(
            f"{problems}\nthe state is adopted, and not every object is marked: "
            f"`pulumi up --refresh --stack {stack}` marks the others"
        )
    typer.echo(f"{count} objects are marked")
