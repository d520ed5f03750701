"""``mesh preview``: which servers, sessions and prefixes a change touches, and whether it may."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from mesh import preview as previews
from mesh.cli.stacks import EngineFailed, Stack, chosen
from mesh.cli.tables import WIDE
from mesh.cli.working_copy import STACK
from mesh.preview.foreign import lines
from mesh.preview.kinds import Kind
from mesh.spec import Problem, SpecError

FAILED = 1
"""Exit code where there is no preview, or a failed one; wrong usage is 2, as typer has it."""
REFUSED = 3
"""Exit code of the gate."""


@dataclass(frozen=True)
class Judged:
    """A preview, what it touches, and what the gate has against it."""

    summary: previews.Summary
    refused: tuple[Problem, ...]


def preview(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The stack to preview.")] = STACK,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Also write it there, for a comment.", dir_okay=False),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit 3 where the change must not run unattended.")
    ] = False,
    replace: Annotated[
        list[str] | None,
        typer.Option("--replace", help="Node whose server is to be replaced; may be repeated."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", help="Node that is meant to go; may be repeated."),
    ] = None,
    most: Annotated[
        str,
        typer.Option(
            "--most", help="Part of the announcers that may go at once: one always, never all."
        ),
    ] = str(previews.Limit().part),
    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Read what `pulumi preview --json --show-sames` printed instead of asking.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Show which servers, sessions and prefixes the next update touches.

    Exit codes: 1 the preview itself failed, 2 wrong usage, 3 the gate refuses.

    What the gate refuses, the latter two unless it is the first update of a stack:

    - a server or address replaced without --replace, or deleted without --remove

    - a server or address of no node, the operator's key or the publication replaced or deleted

    - all reflectors in one update

    - more announcers at once than --most allows, or the last one of a prefix
    """
    asked = previews.Asked(frozenset(replace or ()), frozenset(remove or ()))
    try:
        limit = previews.Limit.of(most)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--most") from None
    try:
        text = _read(saved) if saved else _asked(stack, sorted(asked.replace))
        judged = judge(text, asked, limit)
    except (EngineFailed, previews.Unreadable) as error:
        fail(str(error))
    except SpecError as error:
        fail("\n".join(map(str, error.problems)))
    refused = judged.refused if gate else ()
    if markdown:
        markdown.write_text(previews.markdown(judged.summary, refused), encoding="utf-8")
    if as_json:
        typer.echo(_as_json(judged.summary, refused))
    else:
        show(judged.summary, refused)
    if judged.summary.errors:
        raise typer.Exit(FAILED)
    if refused:
        raise typer.Exit(REFUSED)


def judge(text: str, asked: previews.Asked, limit: previews.Limit) -> Judged:
    """What the preview of that text touches, and what the gate has against it."""
    found = previews.read(text)
    return Judged(previews.summarise(found), previews.gate(found, asked, limit))


def server_of(stack: Stack, node: str) -> str:
    """The URN of a node's server; SpecError where the state knows none."""
    nodes = previews.read_state(stack.state())
    found = [each.urn for each in known(nodes, node) if each.kind is Kind.SERVER]
    if not found:
        raise SpecError([
            Problem("node", node, "it has no server in the state of this stack",
                    "`pulumi up` makes it")
        ])  # fmt: skip
    return found[0]


def known(
    nodes: dict[str, tuple[previews.Deployed, ...]], node: str
) -> Sequence[previews.Deployed]:
    """What a node has; SpecError with the list of nodes where there is no such node."""
    if node not in nodes:
        names = f"use one of {', '.join(nodes)}" if nodes else "`pulumi up` makes them"
        raise SpecError([
            Problem("node", node, "the state of this stack has no such node", names)
        ])  # fmt: skip
    return nodes[node]


def show(summary: previews.Summary, refused: Sequence[Problem] = ()) -> None:
    """Print it; as wide as it is where nobody looks at a screen."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(previews.terminal(summary, refused))


def fail(reason: str) -> NoReturn:
    """Say why there is nothing to show; it may be in somebody else's words."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in lines(reason):
        console.print(f"[red]error:[/] {escape(line)}")
    raise typer.Exit(FAILED)


def _asked(name: str, replace: Sequence[str]) -> str:
    with chosen(name) as stack:
        urns = [server_of(stack, node) for node in replace]
        return stack.preview(*(word for urn in urns for word in ("--replace", urn)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise previews.Unreadable(f"--from = {path}: {error}; give a file that can be read") from (
            None
        )


def _as_json(summary: previews.Summary, refused: Sequence[Problem]) -> str:
    keys = ("key", "value", "reason", "cure")
    problems = [{key: getattr(problem, key) for key in keys} for problem in refused]
    return json.dumps({**asdict(summary), "refused": problems}, indent=2)
