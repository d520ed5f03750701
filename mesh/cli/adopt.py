"""``mesh adopt``: servers that Vultr's plugin made become resources of our own."""

from __future__ import annotations

import json
import os
import secrets
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from mesh.cli.account import account_of
from mesh.cli.exits import fail, failing
from mesh.cli.stacks import Stack, chosen
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import EngineFailed
from mesh.foreign import printable
from mesh.hanging import Hanging
from mesh.infra.dynamic.identity import BYTES
from mesh.infra.providers.vultr.adoption.resources import Adoption, held_by_plugin
from mesh.infra.providers.vultr.adoption.resources import adopt as adoption
from mesh.infra.providers.vultr.v2 import ApiError, Client, marking
from mesh.infra.providers.vultr.v2.holdings import SERVERS, Holdings
from mesh.spec import SpecError
from mesh.vultr import ApiError, Client, marking
from mesh.vultr.holdings import SERVERS, Holdings
from mesh.spec.problems import printable

THROUGH = "mesh:providers.vultr.through"


def adopt(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Let Vultr's API stand in for its plugin in a stack that the plugin made.

    Each object is found in the account by the id in the state, and shown.
    Then the state is written anew (a copy of the old one is kept in this
    folder), and each object gets the network's mark into its label, name,
    description or tags. No server restarts, no address moves, and
    `mesh preview` shows neither touched.

    There is no way back to the plugin.

    Exit codes: 0 done, or there was nothing to adopt; 1 it failed, or nobody
    agreed.
    """
    with failing(SpecError, ApiError, EngineFailed), chosen(stack) as target:
        document = target.state()
        if not held_by_plugin(document):
            typer.echo(f"stack {stack}: nothing of Vultr's plugin is in its state")
            return
        _refuse_the_plugin(target)
        with account_of(target) as client:
            found = adoption(document, Holdings.of(client), secrets.token_hex(BYTES))
            _show(stack, found)
            if not yes:
                typer.confirm("Write the state anew? There is no way back", abort=True)
            _write(target, document, found)
            _mark(stack, client, found)
    typer.echo(f"done; look at `mesh preview --stack {stack}`, then run `pulumi up`")


def _refuse_the_plugin(stack: Stack) -> None:
    """End where the stack file asks for the plugin: its next update would make it all again."""
    if _through(stack.setting("mesh:providers") or "{}") == "plugin":
        fail(
            f"{THROUGH} = plugin: the stack file asks for the plugin, and adopting leaves it; take "
            "this key out of the stack file and adopt again"
        )


def _through(providers: str) -> object:
    """The way that the stack file asks for; what is wrong with the file a preview says."""
    try:
        return json.loads(providers)["vultr"]["through"]
    except (ValueError, KeyError, TypeError):
        return None


def _show(stack: str, found: Adoption) -> None:
    """What is written where."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    rows = table("resource", "at Vultr", "id, its mark")
    for each in found.taken:
        mark = " ".join(each.mark.tags()) if each.held.kind in SERVERS else each.mark.text()
        what = f"{each.held.kind} {each.held.where}".rstrip()
        told = "\n".join(map(printable, (each.held.id, mark)))
        rows.add_row(escape(printable(each.name)), escape(printable(what)), escape(told))
    console.print(f"stack {escape(stack)}: from Vultr's plugin to its API")
    console.print(rows)
    if found.rules:
        console.print(f"{found.rules} firewall rules become part of their group")
    if found.reverse:
        console.print(f"and {len(found.reverse)} reverse names")
    if found.gone:
        gone = f"gone at Vultr, and left out (`pulumi up` makes them): {', '.join(found.gone)}"
        console.print(Hanging(gone), soft_wrap=True)
    if found.forgotten:
        cut = f"begun by an update that was cut, and forgotten: {', '.join(found.forgotten)}"
        console.print(Hanging(cut), soft_wrap=True)
    for one in found.alike:
        words = (
            f"{one.kind} {one.id} ({printable(one.label)}) looks like this network's, and is in no "
            "state: see whose it is in Vultr's console"
        )
        console.print(Hanging(words, "yellow", "warning:"), soft_wrap=True)


def _write(stack: Stack, before: dict[str, Any], found: Adoption) -> None:
    """Write the state, unless somebody else has written it since."""
    kept = _keep(stack, before)
    typer.echo(f"the state as it was is kept in {kept}")
    if stack.state() != before:
        fail("the state has changed meanwhile: an update runs; wait for it, and adopt again")
    stack.replace_state(found.document)
    if held_by_plugin(stack.state()):
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


def _mark(stack: str, client: Client, found: Adoption) -> None:
    """Write the marks. Where that fails the state is right all the same, and a refresh sees it."""
    for each in found.taken:
        try:
            marking.write(client, each.held, each.mark, each.tags)
        except ApiError as error:
            fail(
                f"{error.problem}\nthe state is adopted, and not every object is marked: "
                f"`pulumi up --refresh --stack {stack}` marks the others"
            )
    typer.echo(f"{len(found.taken)} objects are marked")
