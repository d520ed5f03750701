"""``mesh glass``: ask the looking glass of a deployed network, or open it in a browser."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar

import typer
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python
from rich.console import Console, RenderableType

from mesh.cli import glass_text
from mesh.cli.deployed import NoState
from mesh.cli.exits import ExitCode, fail, failing
from mesh.cli.glass_client import Asked, Refused, Unanswered, first_answer, in_order
from mesh.cli.glass_doors import Door, GlassOff, NoWay, doors, free_port, opened, ssh_command
from mesh.cli.glass_relay import Relay
from mesh.cli.orders import Chosen
from mesh.cli.watch import ended_by_sigterm, print_parts
from mesh.cli.working_copy import STACK
from mesh.glass import answers
from mesh.glass.answers import Answer
from mesh.glass.snapshot import Snapshot

ALL = "all"

app = typer.Typer(
    help="Ask the looking glass: routes with their reasons, as the nodes have them now.",
    no_args_is_help=True,
    add_completion=False,
)

At = Annotated[str, typer.Option("--node", help="Id of the node whose answer counts, or all.")]
Via = Annotated[
    str | None,
    typer.Option(
        "--via",
        metavar="NODE",
        help="Log in to this node, which asks the others; else to the first that answers.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]

T = TypeVar("T")
Parts = Iterable[RenderableType]


@app.command()
def route(
    address: Annotated[str, typer.Argument(help="An address, or a prefix.")],
    node: At = ALL,
    more: Annotated[bool, typer.Option("--more", help="More-specific prefixes too.")] = False,
    via: Via = None,
    stack: Chosen = STACK,
    as_json: Json = False,
) -> None:
    """Show every path to an address at each node: which is used and why, which is refused and why.

    Exit codes: 0 all nodes that were asked have answered; 1 one of them has
    not, or none has; 2 nothing was asked: no state, no looking glass, no such
    node, or a question that it does not take.
    """
    asked = {"for": address, "node": node} | ({"more": "1"} if more else {})
    _show(
        stack, Asked("route", asked), TypeAdapter(Answer[answers.Routes]), as_json,
        lambda found: glass_text.parts(found, glass_text.routes), node, via,
    )  # fmt: skip


@app.command()
def refused(
    node: At = ALL,
    session: Annotated[
        str, typer.Option(help="Of this session alone, by BIRD's name (`vultr4`).")
    ] = "",
    reason: Annotated[str, typer.Option(help="For this reason alone, by its number.")] = "",
    via: Via = None,
    stack: Chosen = STACK,
    as_json: Json = False,
) -> None:
    """Show what the import policy refuses: counts by reason, and the first of the routes.

    Exit codes: 0 all nodes that were asked have answered; 1 one of them has
    not, or none has; 2 nothing was asked: no state, no looking glass, no such
    node, or a question that it does not take.
    """
    given = {"node": node, "session": session, "reason": reason}
    asked = Asked("refused", {key: value for key, value in given.items() if value})
    _show(
        stack, asked, TypeAdapter(Answer[answers.Refused]), as_json,
        lambda found: glass_text.parts(found, glass_text.refused), node, via,
    )  # fmt: skip


@app.command()
def way(
    start: Annotated[str, typer.Argument(metavar="FROM", help="Id of a node.")],
    end: Annotated[str, typer.Argument(metavar="TO", help="Id of another node.")],
    via: Via = None,
    stack: Chosen = STACK,
    as_json: Json = False,
) -> None:
    """Show the way between two nodes: by the plan's costs, and the one in use.

    Exit codes: 0 the first node has answered; 1 it has not; 2 nothing was
    asked: no state, no looking glass, or no such node.
    """
    _show(
        stack, Asked("way", {"from": start, "to": end}), TypeAdapter(Answer[answers.Way]), as_json,
        lambda found: glass_text.parts(found, glass_text.way), start, via,
    )  # fmt: skip


@app.command()
def service(
    name: Annotated[str, typer.Argument(help="A service of the stack file.")],
    via: Via = None,
    stack: Chosen = STACK,
    as_json: Json = False,
) -> None:
    """Show who serves a service, and from where each node takes it.

    Exit codes: 0 all nodes have answered; 1 one of them has not, or none has;
    2 nothing was asked: no state, no looking glass, or no such service.
    """
    # The name is a part of the path, and the glass knows none with these characters.
    if set(name) & set("/?#%") or name in ("", ".", ".."):
        fail(f"service = {name}: is no service's name", ExitCode.UNUSABLE)
    _show(
        stack, Asked(f"service/{name}"), TypeAdapter(Answer[answers.Served]), as_json,
        glass_text.served, ALL, via,
    )  # fmt: skip


@app.command()
def nodes(via: Via = None, stack: Chosen = STACK, as_json: Json = False) -> None:
    """Show all nodes as they are now, each by its own word.

    `mesh status` has the signed reports, which prove who said it; this asks
    the nodes themselves, and also where no registry answers.

    Exit codes: 0 all nodes have answered; 1 one of them has not, or none has;
    2 nothing was asked: no state, or no looking glass.
    """
    _show(stack, Asked("nodes"), TypeAdapter(Answer[Snapshot]), as_json, glass_text.nodes, ALL, via)


@app.command("open")
def open_one(
    node: Annotated[str, typer.Argument(help="Id of the node.")],
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Of this machine; the glass's own unless said."),
    ] = None,
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the call of ssh, and do nothing.")
    ] = False,
    stack: Chosen = STACK,
) -> None:
    """Open the looking glass of a node for a browser, until Ctrl-C.

    In production `ssh` forwards a port of this machine to the node; in a lab
    the command does so itself.

    Exit codes: 0 it was ended; 1 ssh has ended, or the port is taken; 2 there
    is no state, no looking glass, or no such node.
    """
    with failing(NoState, GlassOff, NoWay, code=ExitCode.UNUSABLE):
        door = _known(doors(stack), node, stack)[node]
        local = free_port(port or door.port, alone=port is not None)
        there = f"127.0.0.1:{local}"
        if print_only:
            typer.echo(_by_hand(door, there))
            return
    url = f"http://{there}/"
    try:
        with ended_by_sigterm(), failing(NoWay, OSError):
            _serve(door, local, f"{url} is the looking glass of {node}; Ctrl-C ends it")
    except KeyboardInterrupt:
        return


def _by_hand(door: Door, local: str) -> str:
    """The call that does the same without this program."""
    if door.namespace is not None:
        return shlex.join(["mesh", "lab", "exec", door.node, "--", "curl", "-s", f"{door.url}/"])
    return shlex.join(ssh_command(door, local))


def _serve(door: Door, port: int, announcement: str) -> None:
    """Forward a port of this machine to a glass. Ends with ssh, or by an interrupt."""
    if door.namespace is not None:
        Relay(door, port).serve(lambda: typer.echo(announcement))
        return
    with opened(door, port) as process:
        typer.echo(announcement)
        raise NoWay(f"ssh has ended with {process.wait()}")


def _show(
    stack: str,
    asked: Asked,
    adapter: TypeAdapter[Answer[T]],
    as_json: bool,
    parts: Callable[[Answer[T]], Parts],
    node: str,
    via: str | None,
) -> None:
    """Ask, and print the answer. ``node`` is the one that is asked first, ``via`` the only one."""
    # An ssh that runs meanwhile ends with this program.
    with (
        ended_by_sigterm(),
        failing(NoState, GlassOff, Refused, code=ExitCode.UNUSABLE),
        failing(Unanswered),
    ):
        known = doors(stack)
        if via is not None:
            known = {via: _known(known, via, stack)[via]}
        elif node != ALL:
            _known(known, node, stack)
        by, answer = first_answer(in_order(known, node), asked, adapter)
    if as_json:
        typer.echo(json.dumps(document(answer), indent=2))
    else:
        print_parts(Console(highlight=False), tuple(parts(answer)))
    missing = glass_text.unanswered(answer)
    if missing and not as_json:
        answered = sorted(set(answer.nodes) - set(missing))
        typer.echo(f"asked at {by}; answered: {', '.join(answered) or 'nobody'}", err=True)
    if missing or not answer.nodes:
        raise typer.Exit(ExitCode.FAILED)


def document(answer: Answer[Any]) -> Mapping[str, Any]:
    """The answer as JSON, as the glass writes it."""
    found: Mapping[str, Any] = to_jsonable_python(answer)
    return found


def _known(found: Mapping[str, Door], node: str, stack: str) -> Mapping[str, Door]:
    if node not in found:
        raise NoState(
            f"{node}: is no node of the stack {stack} with a looking glass; it has "
            f"{', '.join(found)}"
        )
    return found
