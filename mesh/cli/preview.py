"""``mesh preview``: which servers, sessions and prefixes a change touches, and whether it may."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from mesh.cli.announcing import live_announcers
from mesh.cli.exits import ExitCode, failing
from mesh.cli.stacks import Stack, chosen
from mesh.cli.tables import WIDE
from mesh.cli.working_copy import STACK, EngineFailed
from mesh.preview import display
from mesh.preview.gate import Asked, Limit, LiveAnnouncers, wants_announcers
from mesh.preview.gate import gate as evaluate
from mesh.preview.kinds import ResourceKind
from mesh.preview.state import Deployed, read_state
from mesh.preview.steps import Unreadable, read
from mesh.preview.summary import Summary, summarise
from mesh.spec import Problem, SpecError

RestartSessions = Annotated[
    bool,
    typer.Option(
        "--restart-sessions",
        help="Upstream sessions may start anew, also where no other node announces meanwhile; "
        "another ASN too.",
    ),
]
ByPlan = Annotated[
    bool,
    typer.Option(
        "--by-plan", help="Where the nodes cannot be asked who announces, go by the plan."
    ),
]


@dataclass(frozen=True)
class Judged:
    """What a preview touches, and why the gate refuses it."""

    summary: Summary
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
        typer.Option(
            "--markdown", metavar="FILE", help="Also write it there, for a comment.", dir_okay=False
        ),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit 3 where the change must not run unattended.")
    ] = False,
    replace: Annotated[
        list[str] | None,
        typer.Option(
            "--replace",
            metavar="NODE",
            help="Node whose server is to be replaced; may be repeated.",
        ),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="NODE", help="Node that is meant to go; may be repeated."),
    ] = None,
    most: Annotated[
        str,
        typer.Option(
            "--most",
            metavar="PART",
            help="Part of the announcers that may go at once: one always, never all.",
        ),
    ] = str(Limit().part),
    restart_sessions: RestartSessions = False,
    by_plan: ByPlan = False,
    saved: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Read what `pulumi preview --json --show-sames` printed instead of asking.",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Show which servers, sessions and prefixes the next update touches.

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
    last one; those that are away already count, by the nodes' reports

    - upstream sessions that start anew at the only node that announces a
    prefix, without --restart-sessions; with mesh:waves off also at more
    announcers than --most allows, or at all; another ASN in any case

    - an admin's network or key that goes (mesh:admin), where all recent
    logins to a node used it, or that is unknown

    - what disturbs an announcer where the nodes cannot be asked, without
    --by-plan; the registries' addresses and the key to them are in the
    stack's state

    Exit codes: 0 it is shown; 1 the preview itself failed; 3 the gate
    refuses.
    """
    asked = Asked(frozenset(replace or ()), frozenset(remove or ()), restart_sessions, by_plan)
    try:
        limit = Limit.of(most)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--most") from None
    with failing(EngineFailed, Unreadable, SpecError):
        text = _read(saved) if saved else _asked(stack or STACK, sorted(asked.replace))
        judged = judge(text, asked, limit, stack, gate)
    refused = judged.refused if gate else ()
    if markdown:
        markdown.write_text(display.markdown(judged.summary, refused), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(document(judged.summary, refused), indent=2))
    else:
        show(judged.summary, refused)
    if judged.summary.errors:
        raise typer.Exit(ExitCode.FAILED)
    if refused:
        raise typer.Exit(ExitCode.REFUSED)


def judge(
    text: str,
    asked: Asked,
    limit: Limit,
    stack: str | None,
    gate: bool = True,
) -> Judged:
    """What a preview (its JSON text) touches and, with ``gate``, why the gate refuses it. The
    registries are asked who announces where that matters; ``stack`` is the preview's own if None.
    """
    found = read(text)
    summary = summarise(found)
    if not gate:
        return Judged(summary, ())
    live = LiveAnnouncers({})
    # A preview that failed is not applied.
    if wants_announcers(found) and not summary.errors:
        live = live_announcers(stack or found.stack)
    return Judged(summary, evaluate(found, asked, limit, live))


def server_of(stack: Stack, node: str) -> str:
    """The URN of a node's server; SpecError where the state knows none."""
    nodes = read_state(stack.state())
    found = [each.urn for each in known(nodes, node) if each.kind is ResourceKind.SERVER]
    if not found:
        raise SpecError([
            Problem("node", node, "it has no server in the state of this stack",
                    "`pulumi up` makes it")
        ])  # fmt: skip
    return found[0]


def known(nodes: dict[str, tuple[Deployed, ...]], node: str) -> Sequence[Deployed]:
    """What a node has; SpecError with the list of nodes where there is no such node."""
    if node not in nodes:
        names = f"use one of {', '.join(nodes)}" if nodes else "`pulumi up` makes them"
        raise SpecError([
            Problem("node", node, "the state of this stack has no such node", names)
        ])  # fmt: skip
    return nodes[node]


def show(summary: Summary, refused: Sequence[Problem] = ()) -> None:
    """Print it; at full width where the output is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(display.terminal(summary, refused))


def _asked(name: str, replace: Sequence[str]) -> str:
    with chosen(name) as stack:
        urns = [server_of(stack, node) for node in replace]
        return stack.preview(*(option for urn in urns for option in ("--replace", urn)))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"--from = {path}: {error}; give a file that can be read") from None


def document(summary: Summary, refused: Sequence[Problem]) -> dict[str, Any]:
    """The result as JSON."""
    keys = ("key", "value", "reason", "cure")
    problems = [{key: getattr(problem, key) for key in keys} for problem in refused]
    return {**asdict(summary), "refused": problems}
