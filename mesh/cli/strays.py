"""``mesh strays``: what Vultr's account has of a network that its state does not know."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.cli.account import account_of
from mesh.cli.exits import ExitCode, failing, interrupted
from mesh.cli.stacks import Stack, chosen
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import EngineFailed
from mesh.foreign import printable
from mesh.hanging import Hanging
from mesh.infra.providers.vultr.v2 import ApiError, Client, stated
from mesh.infra.providers.vultr.v2.holdings import Held, Holdings
from mesh.infra.providers.vultr.v2.strays import Findings, compared, held_fast, remove
from mesh.spec import SpecError
from mesh.vultr import ApiError, Client, stated
from mesh.vultr.holdings import Held, Holdings
from mesh.vultr.strays import Findings, compared, held_fast, remove
from mesh.spec.problems import printable

NO_IDENTITY = (
    "its state has no identity at Vultr, so that nothing there bears its mark: nothing was made by "
    "the API yet (what the plugin has made, `mesh adopt` marks)"
)

ELSEWHERE = (
    "nothing that the state has is in this account: see whose key vultr:apiKey is before you "
    "refresh; an update after a refresh would make the whole network again"
)


@dataclass(frozen=True)
class Found:
    """Account and state of a stack. ``removed`` are ids that are gone by now, ``kept`` the reasons
    why others were to go and stayed."""

    identity: str | None
    findings: Findings
    holdings: Holdings
    removed: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def candidates(self) -> tuple[Held, ...]:
        """What may be removed."""
        return (*self.findings.strays, *self.findings.begun)

    @property
    def agree(self) -> bool:
        """Whether account and state have the same."""
        left = [one for one in self.candidates if one.id not in self.removed]
        return not left and not self.findings.missing


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
    listed too: the next `pulumi up` takes it on.

    What the state alone has is seen by `pulumi refresh`, and made again by
    `pulumi up`.

    Exit codes: 0 both have the same; 1 they differ, or nobody agreed to a
    removal; 2 one of them can't be asked; 130 interrupted.
    """
    try:
        with (
            failing(SpecError, ApiError, EngineFailed, code=ExitCode.UNUSABLE),
            chosen(stack) as target,
            account_of(target) as client,
        ):
            found = _look(target, client)
            if not as_json:
                _show(stack, found)
            if remove_them and found.candidates:
                if not yes:
                    _agree(len(found.candidates))
                found = _removed(target, client, found)
                if not as_json:
                    _tell(found)
    except KeyboardInterrupt:
        interrupted("run it again for what is left")
    if as_json:
        typer.echo(json.dumps(document(stack, found), indent=2))
    if not found.agree:
        raise typer.Exit(ExitCode.FAILED)


def _look(target: Stack, client: Client) -> Found:
    """The account before the state: what an update makes in between is in the state by then."""
    holdings = Holdings.of(client)
    document = target.state()
    identity = stated.identity(document)
    if identity is None:
        return Found(None, Findings((), (), ()), holdings)
    known, begun = list(stated.known(document)), set(stated.begun(document))
    return Found(identity, compared(holdings, identity, known, begun), holdings)


def _removed(target: Stack, client: Client, found: Found) -> Found:
    """Delete what may go. The state is asked again before each: an update may have taken it on."""
    _forget(target, found.findings.begun)
    removed: list[str] = []
    kept: list[tuple[str, str]] = []
    used = held_fast(found.candidates, found.holdings)
    for one in found.candidates:
        document = target.state()
        if one.id in used:
            reason = f"the server {used[one.id]}, which stays, holds it; detach it in the console"
            kept.append((one.id, reason))
        elif _is_known(document, one):
            kept.append((one.id, "an update has taken it on meanwhile"))
        else:
            try:
                remove(client, one, lambda line: typer.echo(line, err=True))
                removed.append(one.id)
            except ApiError as error:
                kept.append((one.id, str(error.problem)))
    return Found(found.identity, found.findings, found.holdings, tuple(removed), tuple(kept))


def _forget(target: Stack, begun: Collection[Held]) -> None:
    """Take out of the state that an update had begun to make these. The engine refuses that while
    an update runs."""
    if not begun:
        return
    marks = {(one.mark.node, one.mark.resource) for one in begun if one.mark is not None}
    document = target.state()
    stated.forget(document, marks)
    target.replace_state(document)


def _is_known(document: dict[str, Any], one: Held) -> bool:
    """Whether the state has it, or an update is about to."""
    assert one.mark is not None, "only what bears a mark is removed"
    ids = {(known.kind, known.id) for known in stated.known(document)}
    begun = set(stated.begun(document))
    return (one.kind, one.id) in ids or (one.mark.node, one.mark.resource) in begun


def _agree(count: int) -> None:
    try:
        typer.confirm(f"Delete these {count} at Vultr?", abort=True)
    except typer.Abort:
        typer.echo("\nnobody agreed (or give --yes): nothing was removed")
        raise typer.Exit(ExitCode.FAILED) from None


def _show(stack: str, found: Found) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    if found.identity is None:
        console.print(Hanging(f"stack {stack}: {NO_IDENTITY}"), soft_wrap=True)
        return
    findings = found.findings
    if found.agree:
        console.print(f"stack {escape(stack)}: account and state have the same")
        return
    if found.candidates:
        console.print("In the account, and not in the state:")
        console.print(_table(found))
    if findings.missing:
        console.print("In the state, and not in the account (`pulumi refresh`, then `pulumi up`):")
        rows = table("resource", "at Vultr", "id")
        for known in findings.missing:
            rows.add_row(*map(escape, (known.name, known.kind, known.id)))
        console.print(rows)
    if findings.elsewhere:
        console.print(Hanging(ELSEWHERE, "yellow", "warning:"), soft_wrap=True)


def _table(found: Found) -> Table:
    rows = table("node", "at Vultr", "id, label, note")
    for one in found.candidates:
        is_begun = one in found.findings.begun
        note = "an update began it: `pulumi up` takes it on" if is_begun else ""
        node = one.mark.node if one.mark else ""
        what = f"{one.kind} {one.where}".rstrip()
        # One below the other: side by side, an id of 36 characters would be broken.
        told = "\n".join(printable(each) for each in (one.id, one.label, note) if each)
        rows.add_row(escape(printable(node)), escape(printable(what)), escape(told))
    return rows


def _tell(found: Found) -> None:
    for one in found.candidates:
        if one.id in found.removed:
            typer.echo(f"removed {one.kind} {one.id}")
    for identity, reason in found.kept:
        typer.echo(f"kept {identity}: {reason}")


def document(stack: str, found: Found) -> dict[str, Any]:
    """What a machine is told."""
    findings, kept = found.findings, dict(found.kept)
    return {
        "stack": stack,
        "identity": found.identity,
        "elsewhere": findings.elsewhere,
        "strays": [
            {
                "kind": one.kind,
                "id": one.id,
                "label": one.label,
                "where": one.where,
                "node": one.mark.node if one.mark else None,
                "resource": one.mark.resource if one.mark else None,
                "begun": one in findings.begun,
                "removed": one.id in found.removed,
                "kept": kept.get(one.id),
            }
            for one in found.candidates
        ],
        "missing": [
            {"kind": one.kind, "id": one.id, "resource": one.name} for one in findings.missing
        ],
    }
