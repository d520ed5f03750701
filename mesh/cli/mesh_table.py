"""The whole mesh for a person: a table of its nodes, and lines for what is not alike on all."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_network

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from mesh.cli.tables import table
from mesh.hanging import Hanging
from mesh.publish.announcers import announced_families
from mesh.publish.problems import ACTIVE, contested, family_name, short
from mesh.publish.served import ServiceStatus
from mesh.publish.status import MeshStatus, NodeStatus

WARNING = "warning: "
"""How a problem begins that a node reports of another one."""


def parts(found: MeshStatus, wrong: Collection[str]) -> Iterator[RenderableType]:
    """The whole mesh for a person, and what is ``wrong`` in it."""
    if not found.answered:
        yield from unanswered(found)
        return
    yield f"generation {found.generation}" + (" (taken down)" if found.retired else "")
    yield table_of(found)
    yield from map(Hanging, _notes(found))
    yield from map(problem_line, wrong)


def _notes(found: MeshStatus) -> Iterator[str]:
    """What is below the table beside problems."""
    yield from _prefixes(found)
    yield from _served(found)
    yield from _orders(found)
    yield from _updates(found)
    yield from _repairs(found)


def table_of(found: MeshStatus) -> Table:
    """The nodes for a person; it fits into 80 columns."""
    rows = table("node", "state", "generation", "announces", "services", "sessions")
    for name, node in found.nodes.items():
        rows.add_row(name, *(escape(cell) for cell in _cells(node, found)))
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
        if one.blackholed:
            served += f"; blackholed: {', '.join(one.blackholed)}"
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


def _updates(found: MeshStatus) -> Iterator[str]:
    """The nodes that take an update over, and how."""
    for name, node in found.nodes.items():
        if node.state == "updating":
            yield f"{name}: {update_text(node)}"


def update_text(node: NodeStatus) -> str:
    """Where a node is in an update; empty where it is in none."""
    return {
        "waiting": "waits for its wave",
        "draining": "drains for an update, and comes back by itself",
        "applying": "applies an update",
    }.get(node.update, "")


def _repairs(found: MeshStatus) -> Iterator[str]:
    """The held nodes, and recent repairs. A repair that was given up is a problem instead."""
    for name, node in found.nodes.items():
        if node.held and node.is_known:
            yield f"{name}: held until {node.held}: it repairs and applies nothing (mesh unhold)"
        if not node.is_known:
            continue
        fine = [one for one in node.repairs if not contested(one)]
        for done, some in (
            ("repaired", [one for one in fine if one.times]),
            ("repaired in vain", [one for one in fine if not one.times]),
        ):
            if some:
                repairs = ", ".join(f"{one.what} ({one.why})" for one in some)
                yield f"{name}: {done} in the last ten minutes: {repairs}"


def _cells(node: NodeStatus, found: MeshStatus) -> tuple[str, ...]:
    """A node's row. What is not known is ``unknown``; so is what a silent node reported before."""
    state = node.state if node.awaited else f"{node.state} (without)"
    announces = node.drain or announced_families(
        {ip_network(p): one for p, one in node.announces.items()}
    )
    if not node.is_known:
        return state, str(node.generation or "-"), "unknown", "unknown", "unknown"
    state += " (held)" * bool(node.held)
    if not found.planned and not node.drain:
        announces = "unknown"
    up = len(node.expected) - len(node.down)
    sessions = f"{up} of {len(node.expected)}" if node.sessions and found.planned else "unknown"
    return state, str(node.generation or "-"), announces, _services(node, found), sessions


def _services(node: NodeStatus, found: MeshStatus) -> str:
    """The services that a node may serve. What is drained is not down, but drained."""
    if node.apart and node.services:
        return node.apart
    names = [name + service_state(node, name, found.services.get(name)) for name in node.services]
    return ", ".join(names) or "-"


def service_state(node: NodeStatus, service: str, whole: ServiceStatus | None) -> str:
    """What is written behind a service's name, empty where all is well there."""
    marks = [mark for mark in (_down(node, service), _blackholed(whole)) if mark]
    return f" ({'; '.join(marks)})" if marks else ""


def _down(node: NodeStatus, service: str) -> str:
    if not node.serves(service):
        return "down"
    down = node.down_in(service)
    return f"{_families(down)} down" if down else ""


def _blackholed(whole: ServiceStatus | None) -> str:
    """Whether packets for it are discarded by order, which no check of the node itself sees."""
    if whole is None or not whole.blackholed:
        return ""
    if len(whole.blackholed_in) == len(whole.served_by):
        return "blackholed"
    return f"{_families(whole.blackholed_in) or 'partly'} blackholed"


def _families(found: Iterable[str]) -> str:
    return ", ".join(map(family_name, found))


def problem_line(problem: str) -> Hanging:
    """A problem for a person; warnings have their label in a colour."""
    if problem.startswith(WARNING):
        return Hanging(problem.removeprefix(WARNING), "yellow", WARNING.strip())
    return Hanging(problem)


def unanswered(found: MeshStatus) -> Iterator[RenderableType]:
    """What is known where no registry answers."""
    yield "[red]no registry answers[/]: the state of the nodes is unknown"
    for url, state in found.registries.items():
        yield Hanging(f"registry {url}: {state}")
    yield Hanging(
        f"the nodes go on with what they have; published last was generation {found.published}"
    )
    yield Hanging("`mesh glass nodes` asks the nodes themselves")
