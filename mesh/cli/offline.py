"""``mesh check``, ``mesh plan`` and ``mesh render``: no engine, no network, no secret."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh import capacity
from mesh.bird.features import DEBIAN
from mesh.cli import roa as rpki
from mesh.cli.exits import ExitCode, fail
from mesh.cli.tables import WIDE, table
from mesh.content import survey
from mesh.facts import Facts
from mesh.hanging import Hanging
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan, make
from mesh.plan.document import write_plan
from mesh.render import (
    Seed,
    node_files,
    placeholder_facts,
    placeholder_placements,
    user_data,
)
from mesh.render.bird import lacks
from mesh.spec import Incomplete, Loaded, Problem, SpecError, advice, load_file, project_folder
from mesh.spec.ids import interface

Stack = Annotated[
    str,
    typer.Option("--stack", "-s", help="Reads Pulumi.<stack>.yaml; also org/stack."),
]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="Folder of the stack files, instead of the project that this folder is part of.",
        file_okay=False,
        exists=True,
    ),
]


def check(
    stack: Stack = "prod",
    as_json: AsJson = False,
    root: Root = None,
    roa: Annotated[
        str | None,
        typer.Option(
            rpki.OPTION,
            metavar="FILE|URL|rtr://HOST:PORT",
            help="Also validate the aggregates by this list of VRPs, or this RTR server.",
        ),
    ] = None,
) -> None:
    """Show everything that is wrong with a stack's configuration.

    It is read as the engine reads it, with what Pulumi.yaml sets for all stacks. What only the
    engine can read is named in a warning: secrets inside maps and lists, and what the stack file
    takes from Pulumi ESC (environment:). Then the verdict is "valid as far as it can be read
    here", and "complete" is false in --json.

    What a version of BIRD does not support of the stack is listed with it, and so is advice on what
    is valid and better written in another way.

    With --roa, an aggregate that is Invalid is an error, and one that is NotFound a warning.

    Of a twin (mesh:twin) no keys and secrets are asked for: `make up` makes them.

    Where the stack has mesh:rpki.demand, NotFound is an error too: its preview would stop.

    Exit codes: 0 nothing is wrong with what can be read here; 1 something is.
    """
    judged, missing, complete, advised = None, {}, True, tuple[str, ...]()
    try:
        loaded = load_file(stack, root or project_folder())
        problems, valid = _told(loaded), True
        complete = all(problem.key != "environment" for problem in problems)
        advised = tuple(advice(loaded.spec))
        found = survey(root or project_folder(), loaded.spec)
        problems = (*problems, *found.problems)
        if any(problem.severity == "error" for problem in found.problems):
            raise SpecError(problems)
        made = make(loaded.spec, found.contents)
        too_large = tuple(capacity.problems(made))
        problems, valid = (*problems, *too_large), not too_large
        missing = {version: lacks(made, version) for version in DEBIAN}
        if roa is not None:
            judged = rpki.judged(loaded.spec, roa)
            problems = (*problems, *judged.problems)
    except SpecError as error:
        complete = not isinstance(error, Incomplete)
        problems, valid = error.problems, not complete
        if roa is not None and not complete:
            reason = "nothing was validated: what is announced cannot be known here"
            cure = f"write the keys into the stack file, or leave {rpki.OPTION} out"
            problems = (*problems, Problem(rpki.OPTION, roa, reason, cure))
    if as_json:
        document: dict[str, Any] = {
            "stack": stack, "valid": valid, "complete": complete,
            "problems": [_as_json(p) for p in problems],
            "birds": {version: list(features) for version, features in missing.items()},
            "advice": list(advised),
        }  # fmt: skip
        if judged is not None:
            document["roa"] = {"source": roa, **rpki.as_json(judged)}
        typer.echo(json.dumps(document, indent=2))
    else:
        _print_problems(problems)
        console = Console(highlight=False)
        verdict = "[green]valid[/]" if valid else "[red]not valid[/]"
        if valid and not complete:
            verdict = "[yellow]valid as far as it can be read here[/]"
        if valid and any(problem.severity == "error" for problem in problems):
            verdict += ", [red]but what it announces is not[/]"
        console.print(f"Pulumi.{escape(stack.rpartition('/')[2])}.yaml: {verdict}")
        if judged is not None:
            rpki.show(judged, console)
        for text in advised:
            console.print(Hanging(f"advice: {text}"), soft_wrap=True)
        _print_lacks(missing, console)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(ExitCode.FAILED)


def _print_lacks(missing: Mapping[str, Iterable[str]], console: Console) -> None:
    """By version of BIRD that a node may have: what of the stack it does not support."""
    if any(missing.values()):
        of_nodes = next(version for version, release in DEBIAN.items() if release == "Debian 13")
        series = of_nodes.rpartition(".")[0]
        text = f"No fault of the file: what a BIRD lacks of it. Nodes with Debian 13 have {series}."
        console.print(Hanging(text), soft_wrap=True)
    for version, features in missing.items():
        for number, feature in enumerate(features):
            if not number:
                where = f"{version} or later of its series ({DEBIAN[version]})"
                console.print(f"If a node has BIRD {where}:")
            console.print(Hanging(f"  - {feature}"), soft_wrap=True)


def plan(stack: Stack = "prod", as_json: AsJson = False, root: Root = None) -> None:
    """Show the network that a stack's configuration describes.

    Exit codes: 0 it is shown; 1 the stack file describes none, or only the
    engine can read it whole (see `mesh check`).
    """
    made = plan_of_stack(stack, root)
    if as_json:
        typer.echo(write_plan(made, indent=2))
    else:
        _print_plan(made)


def render(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for the files.", file_okay=False)
    ],
    node: Annotated[
        list[str] | None, typer.Option("--node", help="Node id; may be repeated; all if unsaid.")
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option(
            "--facts",
            metavar="FILE",
            help="JSON of facts by node id, instead of placeholders.",
            dir_okay=False,
        ),
    ] = None,
    stack: Stack = "prod",
    root: Root = None,
) -> None:
    """Write the files that nodes would get; they hold no secret.

    Exit codes: 0 they are written; 1 as of `mesh plan`, or a node that is not
    there, or facts that cannot be read.
    """
    made = plan_of_stack(stack, root)
    planned = [each.id for each in made.nodes]
    wanted = node or planned
    for unknown in sorted(set(wanted).difference(planned)):
        cure = f"use one of {', '.join(planned)}"
        _fail([Problem("--node", unknown, "there is no such node", cure)])
    known_facts = placeholder_facts(made) if facts is None else _read_facts(facts)
    files = node_files(made, known_facts, placeholder_placements(made) if facts is None else {})
    seed = Seed(registries=(), operator="", bundle="", token="")
    for node_id in wanted:
        if node_id not in files:
            _fail([Problem("--facts", str(facts), f"{node_id} is not in it", "add its facts")])
        own = files[node_id].files
        for file in own:
            write(out / node_id / file.path.lstrip("/"), file.content)
        write(out / node_id / "user-data", user_data(made, node_id, seed))
        typer.echo(f"{out / node_id}: {len(own) + 1} files")


def plan_of_stack(stack: str, root: Path | None) -> Plan:
    """The plan of a stack; the command ends with the reason where the stack file gives none."""
    try:
        folder = root or project_folder()
        loaded = load_file(stack, folder)
        found = survey(folder, loaded.spec)
    except Incomplete as error:
        _fail(error.unread)
    except SpecError as error:
        _fail(error.problems)
    _print_problems((*_told(loaded), *found.problems))
    if any(problem.severity == "error" for problem in found.problems):
        raise typer.Exit(ExitCode.FAILED)
    return make(loaded.spec, found.contents)


def _told(loaded: Loaded) -> tuple[Problem, ...]:
    """What there is to tell of a stack file. A twin needs neither keys nor secrets of its own:
    `make up` makes them."""
    if loaded.spec.twin is None:
        return loaded.problems
    return tuple(problem for problem in loaded.problems if problem.severity != "preview")


def _fail(problems: Iterable[Problem]) -> NoReturn:
    fail("\n".join(map(str, problems)))


def _print_problems(problems: Iterable[Problem]) -> None:
    """To standard error, so that what is asked for stays alone on standard output."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in problems:
        is_error = problem.severity == "error"
        label, style = ("error:", "red") if is_error else ("warning:", "yellow")
        console.print(Hanging(str(problem), style, label))


def _as_json(problem: Problem) -> dict[str, str]:
    keys = ("severity", "key", "value", "reason", "cure")
    return {key: getattr(problem, key) for key in keys}


def _read_facts(path: Path) -> dict[str, Facts]:
    try:
        return TypeAdapter(dict[str, Facts]).validate_json(path.read_bytes())
    except OSError as error:
        _fail([Problem("--facts", str(path), str(error), "give a file that can be read")])
    except ValidationError as error:
        _fail(
            Problem(
                f"--facts {'.'.join(map(str, item['loc']))}",
                str(path),
                item["msg"],
                "give facts as the registry reports them",
            )
            for item in error.errors(include_url=False, include_input=False)
        )


def write(path: Path, content: str) -> None:
    """Writes a file for nodes, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="\n")  # the nodes', wherever we are


def _upstreams(node: Node) -> Iterator[str]:
    """The upstreams' addresses below their ASN: together they would be too wide for 80 columns."""
    for (asn, label), group in groupby(
        node.upstreams, key=lambda each: (each.peer_asn, each.label)
    ):
        sessions = tuple(group)
        yield f"AS{asn} {label}".rstrip()
        yield from sorted({f"import {each.imports.take}" for each in sessions})
        yield from (str(session.neighbor) for session in sessions)


def _named(node: Node) -> Iterator[str]:
    """A node's id, and the name of the tunnels to it where that does not have the whole id."""
    yield f"[bold]{node.id}[/]"
    if not (named := interface(node.id)).endswith(node.id):
        yield named


def _system(node: Node) -> Iterator[str]:
    """What a node runs, where that is not what most do."""
    if node.os is not OperatingSystem.DEBIAN:
        yield node.os.own_name


def _print_plan(made: Plan) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    console.print(f"AS{made.asn}  {'  '.join(map(str, made.owned))}")
    nodes = table("node, roles", "addresses", "tunnels to (cost)", "upstream")
    for node in made.nodes:
        nodes.add_row(
            "\n".join([*_named(node), *node.roles, *_system(node)]),
            "\n".join(map(str, (*node.announced.both(), *node.tunnel.both()))),
            "\n".join(f"{link.peer} ({link.cost})" for link in node.links),
            "\n".join(_upstreams(node)),
        )
    announced = table("prefix", "announced by")
    for each in made.aggregates:
        part = f"\npart of {each.covering}" if each.covering else ""
        announced.add_row(f"{each.prefix}{part}", "\n".join(each.nodes) or "[yellow]no node[/]")
    services = table("service", "kind", "addresses", "ports", "nodes")
    for service in made.services:
        ports = [f"{port}/tcp" for port in service.ports.tcp]
        ports += [f"{port}/udp" for port in service.ports.udp]
        services.add_row(
            service.name,
            service.kind or "-",
            "\n".join(map(str, service.addresses.both())),
            " ".join(ports),
            "\n".join(service.nodes),
        )
    console.print(nodes)
    console.print()
    console.print(announced)
    if services.row_count:
        console.print()
        console.print(services)
    steered = _steered(made)
    if steered.row_count:
        console.print()
        console.print(steered)


def _steered(made: Plan) -> Table:
    """What upstreams are asked for, where anything is."""
    steered = table("session", "asked of the upstream", "by")
    for node in made.nodes:
        for session in node.upstreams:
            if session.steering.rules:
                steered.add_row(
                    f"{node.id}:{session.name}",
                    "\n".join(session.steering.descriptions()),
                    "\n".join(session.steering.rules),
                )
    return steered
