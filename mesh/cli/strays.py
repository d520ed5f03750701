"""``mesh strays``: what a provider's account has of a network that its state does not know."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.cli.exits import ExitCode, failing, interrupted
from mesh.cli.stacks import chosen
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import EngineFailed
from mesh.foreign import printable
from mesh.hanging import Hanging
from mesh.infra import providers
from mesh.infra.providers.accounts import Compared, StrayFinder
from mesh.spec import SpecError


def strays(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")],
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    remove_them: Annotated[
        bool, typer.Option("--remove", help="Delete what the account has and the state has not.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """List what Vultr's account has of a network and its state has not, and the reverse.

    An object is the network's by its mark, which holds the identity that
    the state keeps. What bears no mark, or another network's, is neither
    listed nor removed. What an update had begun to make when it was cut is
    listed too: the next `pulumi up` adopts it.

    What the state alone has is seen by `pulumi refresh`, and made again by
    `pulumi up`. No other provider is asked.

    Exit codes: 0 both have the same; 1 they differ, or nobody agreed to a
    removal; 2 one of them can't be asked; 130 interrupted.
    """
    try:
        with (
            failing(SpecError, EngineFailed, code=ExitCode.UNUSABLE),
            chosen(stack) as target,
        ):
            finder = finder_class()(target)
            found = finder.compare()
            if not as_json:
                _show(stack, finder, found)
            if remove_them and found.candidates:
                if not yes:
                    _agree(finder, len(found.candidates))
                found = finder.remove(found, lambda line: typer.echo(line, err=True))
                if not as_json:
                    _show_removed(found)
    except KeyboardInterrupt:
        interrupted("run it again for what is left")
    if as_json:
        typer.echo(json.dumps(document(stack, found), indent=2))
    if not found.agree:
        raise typer.Exit(ExitCode.FAILED)


def finder_class() -> type[StrayFinder]:
    """The class that lists an account's objects, from the provider whose driver has one."""
    paths = (each.strays for each in providers.DESCRIPTIONS.values())
    found: type[StrayFinder] = providers.named(next(path for path in paths if path is not None))
    return found


def _agree(finder: StrayFinder, count: int) -> None:
    try:
        typer.confirm(f"Delete these {count} at {finder.provider}?", abort=True)
    except typer.Abort:
        typer.echo("\nnobody agreed (or give --yes): nothing was removed")
        raise typer.Exit(ExitCode.FAILED) from None


def _show(stack: str, finder: StrayFinder, found: Compared) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    if found.identity is None:
        console.print(Hanging(f"stack {stack}: {finder.no_identity}"), soft_wrap=True)
        return
    if found.agree:
        console.print(f"stack {escape(stack)}: account and state have the same")
        return
    if found.candidates:
        console.print("In the account, and not in the state:")
        console.print(_table(finder.provider, found))
    if found.missing:
        console.print("In the state, and not in the account (`pulumi refresh`, then `pulumi up`):")
        rows = table("resource", f"at {finder.provider}", "id")
        for known in found.missing:
            rows.add_row(*map(escape, (known.name, known.kind, known.id)))
        console.print(rows)
    if found.elsewhere:
        console.print(Hanging(finder.elsewhere, "yellow", "warning:"), soft_wrap=True)


def _table(provider: str, found: Compared) -> Table:
    rows = table("node", f"at {provider}", "id, label, note")
    for one in found.candidates:
        is_begun = one in found.begun
        note = "an update began it: `pulumi up` adopts it" if is_begun else ""
        what = f"{one.kind} {one.where}".rstrip()
        # One below the other: side by side, an id of 36 characters would be broken.
        lines = "\n".join(printable(each) for each in (one.id, one.label, note) if each)
        rows.add_row(escape(printable(one.node or "")), escape(printable(what)), escape(lines))
    return rows


def _show_removed(found: Compared) -> None:
    for one in found.candidates:
        if one.id in found.removed:
            typer.echo(f"removed {one.kind} {one.id}")
    for identity, reason in found.kept:
        typer.echo(f"kept {identity}: {reason}")


def document(stack: str, found: Compared) -> dict[str, Any]:
    """The result as JSON."""
    kept = dict(found.kept)
    return {
        "stack": stack,
        "identity": found.identity,
        "elsewhere": found.elsewhere,
        "strays": [
            {
                "kind": one.kind,
                "id": one.id,
                "label": one.label,
                "where": one.where,
                "node": one.node,
                "resource": one.resource,
                "begun": one in found.begun,
                "removed": one.id in found.removed,
                "kept": kept.get(one.id),
            }
            for one in found.candidates
        ],
        "missing": [
            {"kind": one.kind, "id": one.id, "resource": one.name} for one in found.missing
        ],
    }
