"""``mesh status``: how the running mesh is, by the nodes' signed reports."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict
from ipaddress import ip_network
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.cli.deployed import NoState, published
from mesh.cli.exits import ExitCode, failing
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import STACK
from mesh.hanging import Hanging
from mesh.netns import NamespaceError
from mesh.publish.announcers import announced_families
from mesh.publish.problems import ACTIVE, contested, family_name, problems, short
from mesh.publish.served import ServiceStatus
from mesh.publish.status import MeshStatus, NodeStatus, look

WARNING = "warning: "
"""How a problem begins that a node reports of another one."""


def status(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")] = STACK,
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
    warning. What is drained or removed by order is well.

    Exit codes: 0 all is well; 1 something is not, or is unknown; 2 the
    stack's state cannot be read.
    """
    with failing(NoState, NamespaceError, code=ExitCode.UNUSABLE):
        own = published(stack)
        found = look(own.operator_key, own.registries, own.fleet, own.namespace, own.known_plan())
    wrong = problems(found)
    if as_json:
        typer.echo(json.dumps(document(found, wrong), indent=2))
    else:
        _print(found, wrong)
    if wrong:
        raise typer.Exit(ExitCode.FAILED)


def document(found: MeshStatus, wrong: Collection[str]) -> dict[str, Any]:
    """The result as JSON."""
    return asdict(found) | {"problems": list(wrong)}


def _print(found: MeshStatus, wrong: Collection[str]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    if not found.answered:
        _print_unanswered(console, found)
        return
    console.print(f"generation {found.generation}" + (" (taken down)" if found.retired else ""))
    console.print(table_of(found))
    for line in (*_prefixes(found), *_served(found), *_orders(found), *_repairs(found)):
        console.print(Hanging(line), soft_wrap=True)
    for line in wrong:
        shown = Hanging(line)
        if line.startswith(WARNING):
            shown = Hanging(line.removeprefix(WARNING), "yellow", WARNING.strip())
        console.print(shown, soft_wrap=True)


def table_of(found: MeshStatus) -> Table:
    """The nodes for a person; it fits into 80 columns."""
    rows = table("node", "state", "generation", "announces", "services", "sessions")
    for name, node in found.nodes.items():
        rows.add_row(name, *(escape(cell) for cell in _cells(node, found.planned)))
    return rows


def _prefixes(found: MeshStatus) -> Iterator[str]:
    """Who announces each prefix that not all its planned nodes announce; each prefix in a network
    with several of a family."""
    families = [ip_network(prefix).version for prefix in found.prefixes]
    several = len(families) > len(set(families))
    for prefix, one in found.prefixes.items():
        others = [
            f"{what} {', '.join(nodes)}"
            for what, nodes in (("not by", one.not_announcing), ("unknown of", one.unknown))
            if nodes
        ]
        if one.dark and not one.announcers:
            yield f"{prefix}: off the Internet while the only node that announces it is out"
        if one.announcers and (others or several):
            announced = f"announced by {', '.join(one.announcers)}"
            yield f"{prefix}: {'; '.join([announced, *others])}"


def _served(found: MeshStatus) -> Iterator[str]:
    """Who serves each service where not all do that may, and with what; nothing of older agents,
    which do not report it by family."""
    told = {name for node in found.nodes.values() for name in node.families}
    for name, one in found.services.items():
        if name not in told:
            continue
        served = _by_family(one)
        if one.content:
            served += f"; content {short(one.content)}"
        if one.older:
            served += f", older at {', '.join(one.older)}"
        yield f"service {name}: {served}"
    for name, node in found.nodes.items():
        units = [f"{unit} for {service}" for service, unit in node.units.items() if unit != ACTIVE]
        if units and node.is_known:
            yield f"{name}: unit is {', '.join(units)}"


def _by_family(one: ServiceStatus) -> str:
    """``served by all of 4 nodes``, or by which in each family."""
    if not any(one.not_by.values()):
        count = max(map(len, one.served_by.values()), default=0)
        return f"served by {'all ' if count > 1 else ''}{count} node{'s' if count > 1 else ''}"
    if len(set(one.served_by.values())) == 1:
        nodes = next(iter(one.served_by.values()))
        return f"served by {', '.join(nodes) or 'nobody'}"
    parts = [
        f"{family_name(family)} by {', '.join(nodes) or 'nobody'}"
        for family, nodes in one.served_by.items()
    ]
    return f"served in {', in '.join(parts)}"


def _orders(found: MeshStatus) -> Iterator[str]:
    """The operator's orders in force."""
    if found.drained:
        yield f"drained by order {found.drain}: {', '.join(found.drained)}"
    for entry in found.blackholes:
        why = f": {entry.reason}" if entry.reason else ""
        yield f"blackhole {entry.address} until {entry.until} ({entry.seconds_left} s left){why}"


def _repairs(found: MeshStatus) -> Iterator[str]:
    """The held nodes, and recent repairs. A repair that was given up is a problem instead."""
    for name, node in found.nodes.items():
        if node.held and node.is_known:
            yield f"{name}: held until {node.held}: it repairs and applies nothing (mesh unhold)"
        fine = [one for one in node.repairs if not contested(one)]
        if fine and node.is_known:
            repairs = ", ".join(f"{one.what} ({one.why})" for one in fine)
            yield f"{name}: repaired in the last ten minutes: {repairs}"


def _print_unanswered(console: Console, found: MeshStatus) -> None:
    console.print("[red]no registry answers[/]: the state of the nodes is unknown")
    for url, state in found.registries.items():
        console.print(Hanging(f"registry {url}: {state}"), soft_wrap=True)
    last = f"the nodes go on with what they have; published last was generation {found.published}"
    console.print(Hanging(last), soft_wrap=True)


def _cells(node: NodeStatus, planned: bool) -> tuple[str, ...]:
    """A node's row. What is not known is ``unknown``; so is what a silent node reported before."""
    state = node.state if node.awaited else f"{node.state} (without)"
    announces = node.drain or announced_families(
        {ip_network(p): one for p, one in node.announces.items()}
    )
    if not node.is_known:
        return state, str(node.generation or "-"), "unknown", "unknown", "unknown"
    if not planned and not node.drain:
        announces = "unknown"
    up = len(node.expected) - len(node.down)
    sessions = f"{up} of {len(node.expected)}" if node.sessions and planned else "unknown"
    # A drained node serves nothing, so none of its services is down.
    served = {} if node.drain == "drained" else node.services
    services = [name + _state(node, name) for name in served]
    return state, str(node.generation or "-"), announces, ", ".join(services) or "-", sessions


def _state(node: NodeStatus, service: str) -> str:
    """What is written behind a service's name."""
    if not node.serves(service):
        return " (down)"
    down = ", ".join(map(family_name, node.down_in(service)))
    return f" ({down} down)" if down else ""
