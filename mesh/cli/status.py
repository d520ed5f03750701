"""``mesh status``: how the running mesh is, by the nodes' own signed words."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.cli.environment import checkout, environment
from mesh.cli.stacks import no_engine
from mesh.cli.tables import WIDE
from mesh.cli.working_copy import STACK
from mesh.publish.namespace import NoWayIn
from mesh.publish.order import Fleet, load_fleet
from mesh.publish.status import MeshStatus, NodeStatus, look
from mesh.trust.encoding import Malformed

NOT_WELL = 1
"""Exit code where some node is not on the current generation."""
UNUSABLE = 2
"""Exit code where the state cannot be read."""
# The key under which the engine keeps a secret in an exported state (sdk: resource.SigKey).
_SIGNATURE = "4dabf18193072939515e22adb298388d"


@dataclass(frozen=True, slots=True)
class Published:
    """What the stack's state says of its publication; ``plan`` is a plan as text."""

    operator_key: str = field(repr=False)
    registries: dict[str, str]
    namespace: str | None
    fleet: Fleet
    plan: str = field(repr=False, default="")


class NoState(Exception):
    """The stack cannot be read, or has published nothing."""


def status(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")] = STACK,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show generation, state, sessions and services of every node; exit 1 if one is not well."""
    try:
        own = published(exported(stack))
        found = look(own.operator_key, own.registries, own.fleet, own.namespace)
    except (NoState, NoWayIn) as error:
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
    else:
        _print(found)
    if any(node.state != "applied" for node in found.nodes.values()):
        raise typer.Exit(NOT_WELL)


def exported(stack: str) -> dict[str, Any]:
    """The stack's state in clear. It holds the operator's key, so it goes through a pipe, and
    nowhere else. The lab's engine has an environment of its own; other stacks have the user's."""
    chosen = environment(checkout()) if stack == STACK else dict(os.environ)
    command = ["pulumi", "stack", "export", "--show-secrets", "--stack", stack]
    folder = Path(chosen["PULUMI_HOME"]).parent if stack == STACK else Path.cwd()
    try:
        done = subprocess.run(
            [*command, "--non-interactive"],
            cwd=folder,
            env=chosen,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise NoState(f"stack {stack}: {no_engine(stack)}") from None
    except OSError as error:
        raise NoState(f"stack {stack}: {error.strerror}: {error.filename}") from None
    if done.returncode != 0:
        words = done.stderr.strip() or f"pulumi ended with {done.returncode}"
        raise NoState(f"stack {stack}: {words}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def published(state: Mapping[str, Any]) -> Published:
    """The publication in an exported state; :class:`NoState` where there is none."""
    resources = state.get("deployment", {}).get("resources") or []
    outputs = next(
        (one.get("outputs", {}) for one in resources if one["type"].endswith(":Publish")), None
    )
    if outputs is None or not outputs.get("fleet"):
        raise NoState(
            "nothing has been published from this stack yet: `pulumi up`, or `make up` for the lab"
        )
    plain = {key: _plain(value) for key, value in outputs.items()}
    try:
        fleet = load_fleet(plain["fleet"])
    except Malformed as error:
        raise NoState(f"the stack's state: {error}") from None
    return Published(
        operator_key=plain["operator_key"],
        registries=dict(plain["registries"]),
        namespace=plain.get("namespace"),
        fleet=fleet,
        plan=plain.get("plan") or "",
    )


def _plain(value: Any) -> Any:
    """A value out of the engine's wrapping of secrets."""
    if isinstance(value, dict) and _SIGNATURE in value and "plaintext" in value:
        return json.loads(value["plaintext"])
    return value


def _print(found: MeshStatus) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    if not found.answered:
        _print_unanswered(console, found)
        return
    table = Table("node", "state", "generation", "announces", "services", "sessions", box=None)
    for name, node in found.nodes.items():
        table.add_row(name, *(escape(cell) for cell in _cells(node)))
    console.print(f"generation {found.generation}" + (" (taken down)" if found.retired else ""))
    console.print(table)
    for name, node in found.nodes.items():
        down = sorted(name for name, state in node.sessions.items() if state != "Established")
        if down:
            console.print(f"{name}: down: {', '.join(map(escape, down))}")
        if node.state == "silent":
            spoke = "has said nothing yet" if node.age is None else f"last word {node.age:g} s ago"
            console.print(f"{name}: {spoke}")
        if node.reason:
            console.print(f"{name}: {escape(node.reason)}")
        for url in node.tls_mismatches:
            console.print(f"{name}: {escape(url)} shows another certificate than was published")
    for warned in found.warnings:
        console.print(f"[yellow]warning:[/] {escape(warned.text)}", soft_wrap=True)
    for url, word in found.registries.items():
        if word != "ok":
            console.print(f"registry {escape(url)}: {escape(word)}")


def _print_unanswered(console: Console, found: MeshStatus) -> None:
    console.print("[red]no registry answers[/]: the state of the nodes is unknown")
    for url, word in found.registries.items():
        console.print(f"registry {escape(url)}: {escape(word)}", soft_wrap=True)
    console.print(
        f"the nodes go on with what they have; published last was generation {found.published}"
    )


def _cells(node: NodeStatus) -> tuple[str, ...]:
    up = sum(state == "Established" for state in node.sessions.values())
    return (
        node.state,
        str(node.generation or "-"),
        "yes" if node.in_service and not node.drain else node.drain or "no",
        ", ".join(f"{name}{'' if up_ else ' (down)'}" for name, up_ in node.services.items()),
        f"{up} of {len(node.sessions)}",
    )


def _fail(reason: str) -> NoReturn:
    Console(stderr=True, highlight=False).print(f"[red]{escape(reason)}[/]")
    raise typer.Exit(UNUSABLE)
