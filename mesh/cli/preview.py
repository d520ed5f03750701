"""``mesh preview``: which servers, sessions and prefixes a change touches, and whether it may."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from mesh import preview as previews
from mesh.cli.announcing import heard
from mesh.cli.stacks import EngineFailed, Stack, chosen
from mesh.cli.tables import WIDE
from mesh.cli.working_copy import STACK
from mesh.hanging import Hanging
from mesh.preview.foreign import lines
from mesh.preview.kinds import Kind
from mesh.spec import Problem, SpecError

FAILED = 1
"""Exit code where there is no preview, or a failed one; wrong usage is 2, as typer has it."""
REFUSED = 3
"""Exit code of the gate."""


RestartSessions = Annotated[
    bool,
    typer.Option(
        "--restart-sessions",
        help="Upstream sessions may start anew, however many at once; another ASN too.",
    ),
]
ByPlan = Annotated[
    bool,
    typer.Option(
        "--by-plan", help="Where the nodes cannot be asked who announces, believe the plan."
    ),
]


@dataclass(frozen=True)
class Judged:
    """A preview, what it touches, and what the gate has against it."""

    summary: previews.Summary
    refused: tuple[Problem, ...]


def preview(
    stack: Annotated[
        str | None,
        typer.Option(
            "--stack", "-s", help=f"The stack to preview; {STACK}, or the one of --from, if unsaid."
        ),
    ] = None,
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
    restart_sessions: RestartSessions = False,
    by_plan: ByPlan = False,
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

    What the gate refuses, in a stack's first update too:

    - a server or address replaced without --replace, or deleted without
    --remove

    - one of no node, the operator's key or the publication replaced or
    deleted

    - what it does not know: a type of resource that is replaced or deleted,
    or updated under a node; an operation of the engine's

    - protection from deletion (mesh:protect) that is off, or goes away

    And once something is announced:

    - all reflectors in one update

    - more announcers of a prefix away at once than --most allows, or the
    last one; those that are away already count, by what the nodes say

    - upstream sessions that start anew at more announcers than --most
    allows, or at all of a prefix, without --restart-sessions; another ASN
    in any case

    - what disturbs an announcer where the nodes cannot be asked, without
    --by-plan; the registries' addresses and the key to them are in the
    stack's state
    """
    asked = previews.Asked(
        frozenset(replace or ()), frozenset(remove or ()), restart_sessions, by_plan
    )
    try:
        limit = previews.Limit.of(most)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--most") from None
    try:
        text = _read(saved) if saved else _asked(stack or STACK, sorted(asked.replace))
        judged = judge(text, asked, limit, stack, gate)
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


def judge(
    text: str,
    asked: previews.Asked,
    limit: previews.Limit,
    stack: str | None,
    gate: bool = True,
) -> Judged:
    """What the preview of that text touches, and what the gate has against it, if it is wanted. The
    network is asked who announces where that matters; ``stack`` is the preview's own if None."""
    found = previews.read(text)
    summary = previews.summarise(found)
    if not gate:
        return Judged(summary, ())
    known = previews.Heard({})
    # A preview that failed goes nowhere.
    if previews.wants_announcers(found) and not summary.errors:
        known = heard(stack or found.stack)
    return Judged(summary, previews.gate(found, asked, limit, known))


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
        console.print(Hanging(line, "red", "error:"))
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
