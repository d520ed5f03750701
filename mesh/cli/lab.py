"""``mesh lab``: look at the lab, run commands in its boxes, break it, heal it, measure it."""

from __future__ import annotations

import json
import os
import shlex
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from mesh import netns
from mesh.cli.engine import is_busy, one_at_a_time
from mesh.cli.environment import checkout, engine_folder, environment, state_folder
from mesh.cli.exits import ExitCode, fail, failing
from mesh.cli.on_demand import group
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import EngineFailed, is_prepared, prepare
from mesh.lab import bgpd, bird, containers, faults, receivers
from mesh.lab import probe as probes
from mesh.lab.errors import LabError
from mesh.lab.inside import inside
from mesh.lab.lab_files import LabFiles, files_of
from mesh.lab.questions import Question, question
from mesh.lab.underlay import World
from mesh.lab.world import clear_world, load
from mesh.plan.model import Address
from mesh.spec import SpecError

# The engine's environment is loaded by what needs it.
COMMANDS = {"up": "mesh.cli.up:up", "down": "mesh.cli.down:down"}

app = typer.Typer(
    name="lab",
    help="The twin of the network on this machine.",
    cls=group(COMMANDS),
    no_args_is_help=True,
    add_completion=False,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One box as ``mesh lab list --json`` prints it."""

    name: str
    kind: str
    addresses: tuple[str, ...]
    state: str
    faults: tuple[str, ...] = ()
    instance_id: str | None = None


Kind = Literal["http", "dns", "tcp", "ping"]
"""What `mesh lab probe` asks."""

Json = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command()
def env() -> None:
    """Print the environment in which the engine's own commands work on the lab's stack.

    `eval "$(mesh lab env)"`, then `pulumi preview --stack lab`, `pulumi stack output` and all
    others, in whatever folder. They run in the lab's working copy of the project (`pulumi` begins
    relative paths there), and write no committed file. Print it anew after an edit of
    Pulumi.lab.yaml, which is copied then; what `pulumi config set` has set is gone by that.

    Exit codes: 0 done; 1 the engine is not set up, or the lab's stack file
    cannot be used.
    """
    root = checkout()
    state = state_folder(root)
    own = environment(root, state) | {"PULUMI_OPTION_CWD": str(state)}
    with _errors():
        _ready(root, state, own)
    for name in sorted(n for n in own if n.startswith(("PULUMI_", "MESH_")) or n == "PATH"):
        typer.echo(f"export {name}={shlex.quote(own[name])}")


def _ready(root: Path, state: Path, own: dict[str, str]) -> None:
    """Make the working copy ready, unless another run that works on the lab has just done so.
    Messages go to standard error: a shell reads standard output."""
    if not os.access(engine_folder(root) / "pulumi", os.X_OK):
        raise LabError("the Pulumi engine is not set up in this checkout: run `make setup`")
    with redirect_stdout(sys.stderr):
        if is_busy(state) and is_prepared(state):
            print("another run works on this lab; its working copy is left as it is")
            return
        try:
            with one_at_a_time(state):
                prepare(root, state, own)
        except (EngineFailed, SpecError) as error:
            raise LabError(str(error)) from None


@app.command("list")
def list_boxes(as_json: Json = False) -> None:
    """Show the boxes: nodes, upstreams, transits, clients, operator.

    Exit codes: 0 done; 1 there is no lab, or no right to look at it.
    """
    with _errors():
        here = files_of()
        listed = _boxes(here, load(here.lab))
    if as_json:
        typer.echo(json.dumps([asdict(box) for box in listed], indent=1))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(table_of(listed))


def table_of(containers: Iterable[Listed]) -> Table:
    """The boxes for a person; it fits into 80 columns."""
    rows = table("box", "kind", "addresses", "state", "faults")
    for box in containers:
        rows.add_row(box.name, box.kind, "\n".join(box.addresses), box.state, " ".join(box.faults))
    return rows


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec(  # the command's name is the interface
    box: Annotated[str, typer.Argument(help="A box of `mesh lab list`.")],
    command: Annotated[list[str], typer.Argument(help="-- CMD ARGS…")],
) -> None:
    """Run a command in a box; input, output and exit code pass through.

    Exit codes: the command's own; 1 also where it cannot be run: no such box,
    no root.
    """
    with _errors():
        argv = inside(files_of(), box, command[1:] if command[:1] == ["--"] else command)
        sys.stdout.flush()
        try:
            os.execvp(argv[0], argv)  # noqa: S606  (its streams and exit code become ours)
        except FileNotFoundError:
            raise LabError(f"{argv[0]} is missing here; `make up` installs it") from None


@app.command()
def fault(
    verb: Annotated[str, typer.Argument(help=", ".join(faults.FAULTS))],
    target: Annotated[
        str, typer.Argument(help="NODE; A:B for a tunnel; NODE:SERVICE with service-down.")
    ],
) -> None:
    """Break something, until it is healed.

    Exit codes: 0 done; 1 it cannot be done: no such fault or target, no root.
    """
    with _errors():
        faults.fault(files_of().lab, verb, target)
    typer.echo(f"{verb} {target}: applied; heal with `mesh lab heal {target}`")


@app.command()
def heal(
    target: Annotated[str, typer.Argument(help="What `mesh lab list` shows faults on.")],
) -> None:
    """Undo every fault on a target.

    Exit codes: 0 done, or there was nothing to heal; 1 it cannot be done: no
    such target, no root.
    """
    with _errors():
        healed = faults.heal(files_of().lab, target)
    typer.echo(f"{target}: {'healed ' + ', '.join(healed) if healed else 'nothing to heal'}")


@app.command()
def probe(
    client: Annotated[str, typer.Option("--from", help="A client box.")],
    to: Annotated[str, typer.Option("--to", help="The address to ask.")],
    kind: Annotated[
        Kind, typer.Option(help="What is asked: /whoami, a query, a connection, ICMP echo.")
    ] = "http",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="The service's own unless said."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With dns; the service's first zone unless said.")
    ] = None,
    type: Annotated[str | None, typer.Option(help="With dns; SOA unless said.")] = None,
    interval: Annotated[str, typer.Option(help="One question per…")] = "10ms",
    seconds: Annotated[str, typer.Option("--for", help="How long.")] = "10s",
    ping: Annotated[bool, typer.Option("--ping", help="As --kind ping.")] = False,
    as_json: Json = False,
) -> None:
    """Ask an address again and again: sent, answered, longest gap, by whom; Ctrl-C ends it.

    `http` asks for /whoami. `dns` asks over UDP; NSID says who answers. `tcp`
    connects; only the lab's stand-ins say who they are, others are `-`. `ping`
    knows the address alone.

    Exit codes: 0 there was an answer; 1 there was none, or it cannot be
    asked.
    """
    stop = threading.Event()
    with _errors(), ThreadPoolExecutor(max_workers=1) as pool:
        here, address = files_of(), _address(to)
        asking = pool.submit(
            probes.probe,
            here.lab,
            client,
            address,
            _question(here, address, "ping" if ping else kind, port, name, type),
            interval=probes.duration(interval),
            duration=probes.duration(seconds),
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
    raise typer.Exit(ExitCode.DONE if result.answered else ExitCode.FAILED)


def _question(
    here: LabFiles,
    address: Address,
    kind: Kind,
    port: int | None,
    name: str | None,
    type: str | None,
) -> Question | None:
    """The question of these options; None for ICMP echo."""
    if kind != "dns" and (name or type):
        raise LabError(f"--name and --type are for --kind dns, not for {kind}")
    if kind == "ping":
        if port is not None:
            raise LabError("--port is for --kind http, dns and tcp: an ICMP echo has none")
        return None
    services = load(here.lab).services
    return question(services, address, kind, port=port, name=name, type=type)


@app.command()
def alerts(
    seconds: Annotated[
        str, typer.Option("--for", help="Only what came within so much time.")
    ] = "1h",
    as_json: Json = False,
) -> None:
    """Show what Alertmanager has told the lab's receivers, the oldest first.

    A twin has `mesh:monitoring` from its own file alone, and there the secret
    of a receiver of kind webhook or slack is an address of the lab.

    Exit codes: 0 done, also where nothing came; 1 there is no lab, or no right
    to look at it.
    """
    with _errors():
        here = files_of()
        load(here.lab)
        since = time.time() - probes.duration(seconds)
        found = receivers.deliveries(here, since)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=1))
        return
    rows = table("came", "receiver", "alert", "node", "peer", "state")
    for each in found:
        came = datetime.fromtimestamp(each.at).astimezone().strftime("%H:%M:%S")
        for alert in each.alerts:
            rows.add_row(came, each.receiver, alert.name, *alert.of("node", "peer"), alert.status)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(rows)


@app.command()
def wipe() -> None:
    """Clear the lab by force, without the engine: its state will not know.

    Exit codes: 0 done; 1 it cannot be done: no root.
    """
    with _errors():
        clear_world(files_of().lab)


def _show(result: probes.ProbeReport) -> None:
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


def _boxes(here: LabFiles, world: World) -> list[Listed]:
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
    for neighbor in world.neighbors:
        theirs = tuple(str(address.ip) for address in neighbor.addresses)
        found.append(Listed(neighbor.box, "upstream", theirs, _router(here, neighbor.box)))
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


def _node(here: LabFiles, node: str, world: World, broken: dict[str, tuple[str, ...]]) -> Listed:
    uplink, state = world.node(node), containers.read_state(here, node)
    verbs = [
        verb for target, found in broken.items() if node in target.split(":") for verb in found
    ]
    return Listed(
        name=node,
        kind="node",
        addresses=tuple(str(a) for a in (uplink.ipv4, uplink.inside, uplink.ipv6) if a),
        state="absent"
        if state is None
        else "running"
        if containers.is_running(here, node)
        else "off",
        faults=tuple(verbs),
        instance_id=state.instance_id if state else None,
    )


def _router(here: LabFiles, box: str) -> str:
    if not bird.is_running(here, box):
        return "no BIRD"
    return "no OpenBGPD" if bgpd.speaks(here, box) and not bgpd.is_running(here, box) else "running"


def _plain(here: LabFiles, box: str) -> str:
    return "running" if netns.exists(here.namespace(box)) else "absent"


@contextmanager
def _errors() -> Iterator[None]:
    """End the command with an error of the lab's as its reason."""
    with failing(LabError):
        try:
            yield
        except PermissionError as error:
            fail(f"the lab needs root ({error})")
