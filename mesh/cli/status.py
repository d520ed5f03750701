"""``mesh status``: how the running mesh is, by the nodes' signed reports."""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from mesh.cli import mesh_table, node_details
from mesh.cli.deployed import NoState, published
from mesh.cli.exits import ExitCode, failing
from mesh.cli.watch import Shown, print_parts, watch
from mesh.cli.working_copy import STACK
from mesh.foreign import lines
from mesh.hanging import Hanging
from mesh.netns import NamespaceError
from mesh.publish.problems import problems, problems_of
from mesh.publish.status import MeshStatus, look

INTERVAL = 2.0
"""Seconds between two looks."""
READ_AGAIN = 10.0
"""Seconds after which the stack's state may be read again: that takes a second of the engine."""


def status(
    node: Annotated[
        str | None, typer.Argument(metavar="NODE", help="Id of a node: its details alone.")
    ] = None,
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")] = STACK,
    live: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on until Ctrl-C, and show what changes.")
    ] = False,
    interval: Annotated[
        float,
        typer.Option(min=0.5, max=3600, help="Seconds between two looks, with --watch."),
    ] = INTERVAL,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show how every node is by its own signed report, and what is not well.

    A node announces a prefix where it is in service, an upstream session of
    that family is Established, and BIRD exports the prefix on it. A node is
    silent after 45 s without a report.

    Not well is: a node that is silent or not on the generation; a generation
    that the stack's state does not know; a BIRD that does not answer; a
    session or tunnel of the plan that is down; a prefix that an edge does not
    announce; a service that is down, or down in one family; content that is
    older than the generation's; an order that a node refuses, or has not
    applied yet; a node whose disk is not writable, whose clock is wrong, or
    whose agent has a failed thread; a registry that does not answer; a
    warning. What is drained, blackholed or removed by order is well; so is
    what a node does not announce or serve while it takes an update over.

    With NODE: all that its report says, and what is not well there. With
    --watch it is drawn anew on a terminal; in a file or pipe, and with --json
    as one line of JSON, it is printed whenever something changes.

    Exit codes: 0 all is well, or --watch was ended; 1 something is not, or is unknown; 2 the
    stack's state cannot be read, or has no such node.
    """
    with failing(NoState, NamespaceError, code=ExitCode.UNUSABLE):
        source = Source(stack)
        if node is not None:
            _check_known(source, node)
        if live:
            about = f"stack {stack}" if node is None else f"{node} of stack {stack}"
            watch(lambda: _still(source, node), about, interval, as_json)
            return
        found = source.look()
    wrong = _wrong(found, node)
    shown = _shown(found, node)
    if as_json:
        typer.echo(json.dumps(shown.document, indent=2))
    else:
        print_parts(Console(highlight=False), shown.parts)
    if wrong:
        raise typer.Exit(ExitCode.FAILED)


class Source:
    """The nodes' reports, found by a stack's state. The state is read once, and again while the
    registries hold a generation that it does not know."""

    def __init__(self, stack: str) -> None:
        self.stack = stack
        self._read()

    def _read(self) -> None:
        self.own = published(self.stack)
        self._plan, self._read_at = self.own.known_plan(), time.monotonic()

    def look(self) -> MeshStatus:
        """The status now."""
        own = self.own
        return look(own.operator_key, own.registries, own.fleet, own.namespace, self._plan)

    def look_again(self) -> MeshStatus:
        """The status now, after an earlier look: somebody may have published since."""
        found = self.look()
        if found.unrecorded and time.monotonic() - self._read_at > READ_AGAIN:
            self._read()
            found = self.look()
        return found


def _check_known(source: Source, node: str) -> None:
    members = source.own.fleet.members
    if node not in members:
        raise NoState(
            f"{node}: is no node of the stack {source.stack}; it has {', '.join(sorted(members))}"
        )


def _still(source: Source, node: str | None) -> Shown:
    """What is shown at one moment of ``--watch``, which goes on where a look fails."""
    try:
        found = source.look_again()
        if node is not None:
            _check_known(source, node)
    except (NoState, NamespaceError) as error:
        parts = tuple(Hanging(line, "red", "error:") for line in lines(str(error)))
        return Shown(parts, {"error": str(error)})
    return _shown(found, node)


def _wrong(found: MeshStatus, node: str | None) -> tuple[str, ...]:
    return problems(found) if node is None else problems_of(node, found)


def _shown(found: MeshStatus, node: str | None) -> Shown:
    wrong = _wrong(found, node)
    if node is None:
        return Shown(tuple(mesh_table.parts(found, wrong)), document(found, wrong))
    parts = tuple(node_details.parts(node, found, wrong))
    return Shown(parts, node_details.document(node, found, wrong))


def document(found: MeshStatus, wrong: Collection[str]) -> dict[str, Any]:
    """The result as JSON."""
    return asdict(found) | {"problems": list(wrong)}
