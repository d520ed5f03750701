"""``mesh lab``: look at the lab, run commands in its boxes, break it, heal it, measure it."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.cli.environment import checkout, environment
from mesh.lab import bird, boxes, faults, namespaces
from mesh.lab import probe as probes
from mesh.lab.errors import LabError
from mesh.lab.place import Place, place
from mesh.lab.underlay import Underlay
from mesh.lab.world import clear_world, load
from mesh.plan.model import Address

app = typer.Typer(name="lab", help="The twin of the network on this machine.", no_args_is_help=True)

for _name in ("up", "down"):
    # Their modules need the engine's environment, which no other command of the lab does.
    app.command(_name)(getattr(importlib.import_module(f"mesh.cli.{_name}"), _name))


@dataclass(frozen=True, slots=True)
class Listed:
    """One box as ``mesh lab list --json`` prints it."""

    name: str
    kind: str
    addresses: tuple[str, ...]
    state: str
    faults: tuple[str, ...] = ()
    instance_id: str | None = None


Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command()
def env() -> None:
    """Print the environment in which the engine's own commands work on the lab's stack.

    `eval "$(mesh lab env)"`, then `pulumi stack --stack lab`.
    """
    root = checkout()
    own = environment(root)
    for name in sorted(n for n in own if n.startswith(("PULUMI_", "MESH_")) or n == "PATH"):
        typer.echo(f"export {name}={shlex.quote(own[name])}")


@app.command("list")
def list_boxes(as_json: Json = False) -> None:
    """Show the boxes: nodes, upstreams, transits, clients, operator."""
    with _errors():
        here = place()
        listed = _boxes(here, load(here.lab))
    if as_json:
        typer.echo(json.dumps([asdict(box) for box in listed], indent=1))
        return
    table = Table()
    table.add_column("box", no_wrap=True, overflow="fold")
    table.add_column("kind")
    table.add_column("addresses", no_wrap=True, overflow="fold")
    table.add_column("state")
    table.add_column("faults")
    for box in listed:
        table.add_row(box.name, box.kind, "\n".join(box.addresses), box.state, " ".join(box.faults))
    Console().print(table)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec(  # the command's name is the interface
    box: Annotated[str, typer.Argument(help="A box of `mesh lab list`.")],
    command: Annotated[list[str], typer.Argument(help="-- CMD ARGS…")],
) -> None:
    """Run a command in a box; input, output and exit code pass through."""
    with _errors():
        words = _inside(place(), box, command[1:] if command[:1] == ["--"] else command)
        sys.stdout.flush()
        try:
            os.execvp(words[0], words)  # noqa: S606  (its streams and exit code become ours)
        except FileNotFoundError:
            raise LabError(f"{words[0]} is missing here; `make up` installs it") from None


@app.command()
def fault(
    verb: Annotated[str, typer.Argument(help=", ".join(faults.FAULTS))],
    target: Annotated[str, typer.Argument(help="NODE, or A:B for a tunnel.")],
) -> None:
    """Break something, until it is healed."""
    with _errors():
        faults.fault(place().lab, verb, target)
    typer.echo(f"{verb} {target}: applied; heal with `mesh lab heal {target}`")


@app.command()
def heal(
    target: Annotated[str, typer.Argument(help="What `mesh lab list` shows faults on.")],
) -> None:
    """Undo every fault on a target."""
    with _errors():
        healed = faults.heal(place().lab, target)
    typer.echo(f"{target}: {'healed ' + ', '.join(healed) if healed else 'nothing to heal'}")


@app.command()
def probe(
    client: Annotated[str, typer.Option("--from", help="A client box.")],
    to: Annotated[str, typer.Option("--to", help="The address to ask.")],
    interval: Annotated[str, typer.Option(help="One question per…")] = "10ms",
    seconds: Annotated[str, typer.Option("--for", help="How long.")] = "10s",
    ping: Annotated[bool, typer.Option("--ping", help="ICMP echo, for what has no web.")] = False,
    as_json: Json = False,
) -> None:
    """Ask an address again and again: sent, answered, longest gap, by whom; Ctrl-C ends it."""
    stop = threading.Event()
    with _errors(), ThreadPoolExecutor(max_workers=1) as pool:
        asking = pool.submit(
            probes.probe,
            place().lab,
            client,
            _address(to),
            interval=probes.duration(interval),
            duration=probes.duration(seconds),
            ping=ping,
            stop=stop,
        )
        try:
            result = asking.result()
        except KeyboardInterrupt:
            stop.set()
            result = asking.result()
    if as_json:
        typer.echo(json.dumps(asdict(result)))
    else:
        _show(result)
    raise typer.Exit(0 if result.answered else 1)


@app.command()
def wipe() -> None:
    """Clear the lab by force, without the engine: its state will not know."""
    with _errors():
        clear_world(place().lab)


def _show(result: probes.Report) -> None:
    typer.echo(
        f"sent {result.sent}, answered {result.answered}, longest gap {result.longest_gap_ms:g} ms"
    )
    for node, count in result.by.items():
        typer.echo(f"  {node}: {count}")
    for since, node in result.turns[1:]:
        typer.echo(f"  from {since:g} ms on: {node}")


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise LabError(f"--to {text!r} is no IP address") from None


def _boxes(here: Place, world: Underlay) -> list[Listed]:
    broken = faults.active(here.lab)
    found = [_node(here, uplink.node, world, broken) for uplink in world.nodes]
    for upstream in world.upstreams:
        addresses = (str(upstream.gateway4), str(upstream.gateway6))
        found.append(Listed(upstream.box, "upstream", addresses, _router(here, upstream.box)))
        if vpc := upstream.vpc:
            for router in vpc.routers:
                own = (str(router.ipv4),)
                found.append(Listed(router.box, "router", own, _router(here, router.box)))
            own = (str(vpc.client4),)
            found.append(Listed(vpc.client, "client", own, _plain(here, vpc.client)))
    for transit in world.transits:
        addresses = (str(transit.exchange4), str(transit.exchange6))
        found.append(Listed(transit.box, "transit", addresses, _router(here, transit.box)))
    for client in world.clients:
        addresses = (str(client.ipv4), str(client.ipv6))
        found.append(Listed(client.box, "client", addresses, _plain(here, client.box)))
    operator = world.operator
    addresses = (str(operator.ipv4), str(operator.ipv6))
    found.append(Listed(operator.box, "operator", addresses, _plain(here, operator.box)))
    found.append(Listed("internet", "internet", (), _plain(here, "internet")))
    return found


def _node(here: Place, node: str, world: Underlay, broken: dict[str, tuple[str, ...]]) -> Listed:
    uplink, state = world.node(node), boxes.read_state(here, node)
    verbs = [
        verb for target, found in broken.items() if node in target.split(":") for verb in found
    ]
    return Listed(
        name=node,
        kind="node",
        addresses=tuple(str(a) for a in (uplink.ipv4, uplink.inside, uplink.ipv6) if a),
        state="absent" if state is None else "running" if boxes.is_running(here, node) else "off",
        faults=tuple(verbs),
        instance_id=state.instance_id if state else None,
    )


def _router(here: Place, box: str) -> str:
    return "running" if bird.is_running(here, box) else "no BIRD"


def _plain(here: Place, box: str) -> str:
    return "running" if namespaces.exists(here.namespace(box)) else "absent"


def _inside(here: Place, box: str, command: list[str]) -> list[str]:
    """Command words for a box: all of a node's namespaces, or the network of any other box."""
    world = load(here.lab)
    if not command:
        raise LabError(f"give a command: mesh lab exec {box} -- CMD…")
    if box in {uplink.node for uplink in world.nodes}:
        return [*boxes.entering(here, box), f"TERM={os.environ.get('TERM', 'dumb')}", *command]
    if box not in here.boxes():
        raise LabError(f"lab {here.lab!r} has no box {box!r}; see `mesh lab list`")
    return ["nsenter", f"--net={here.namespace_path(box)}", "--", *_tool(here, box, command)]


def _tool(here: Place, box: str, command: list[str]) -> list[str]:
    """The host's tool, or else the Debian 13 tree's; birdc asks the box's own BIRD."""
    name, *arguments = command
    control = here.box(box) / bird.SOCKET
    if name == "birdc" and control.exists():
        birdc = bird.program(here, "usr/sbin/birdc")
        return [*map(str, birdc), "-s", str(control), *arguments]
    if shutil.which(name):
        return command
    for folder in ("usr/bin", "usr/sbin"):
        if (here.image() / folder / name).is_file():
            return [*map(str, bird.program(here, f"{folder}/{name}")), *arguments]
    return command


@contextmanager
def _errors() -> Iterator[None]:
    """A LabError is for the person at the keyboard: one sentence, exit code 1."""
    try:
        yield
    except LabError as error:
        Console(stderr=True).print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    except PermissionError as error:
        Console(stderr=True).print(f"[red]error:[/] the lab needs root ({error})", soft_wrap=True)
        raise typer.Exit(1) from None
