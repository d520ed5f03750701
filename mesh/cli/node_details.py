"""One node for a person and for machines: all that its signed report says."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from mesh.cli.mesh_table import problem_line, service_state, unanswered, update_text
from mesh.cli.tables import table
from mesh.hanging import Hanging
from mesh.publish.expected import state_text
from mesh.publish.problems import age_text, short
from mesh.publish.status import MeshStatus, NodeStatus


def document(name: str, found: MeshStatus, wrong: Collection[str]) -> dict[str, Any]:
    """The node as JSON."""
    return {"node": name} | asdict(found.nodes[name]) | {"problems": list(wrong)}


def parts(name: str, found: MeshStatus, wrong: Collection[str]) -> Iterator[RenderableType]:
    """The node for a person, and what is ``wrong`` there; it fits into 80 columns."""
    if not found.answered:
        yield from unanswered(found)
        return
    node = found.nodes[name]
    yield Hanging(heading(name, node, found))
    if node.age is not None:
        yield _facts(node, found)
        yield from _tables(name, node, found)
    if node.refused:
        counts = ", ".join(f"{reason} {count}" for reason, count in sorted(node.refused.items()))
        yield Hanging(f"routes refused since its agent started: {counts}")
    yield from map(problem_line, wrong)


def heading(name: str, node: NodeStatus, found: MeshStatus) -> str:
    """The node's state in a sentence."""
    words = f"{name}: {node.state}"
    if not node.awaited:
        words += ", and the network goes on without it (mesh:without)"
    if node.drain:
        words += f", {node.drain}" + (f" by order {found.drain}" if found.drain else "")
    if node.update and node.is_known:
        words += f", {update_text(node)}"
    if node.held and node.is_known:
        words += f", held until {node.held}"
    if node.age is None:
        return f"{words}; no report yet"
    if not node.is_known:
        words += "; its state is unknown, what follows is from its last report"
    return words


def _facts(node: NodeStatus, found: MeshStatus) -> Table:
    """What has one value."""
    rows = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    rows.add_column()
    rows.add_column(overflow="fold")
    for label, value in _values(node, found):
        rows.add_row(label, escape(value))
    return rows


def _values(node: NodeStatus, found: MeshStatus) -> Iterator[tuple[str, str]]:
    published = "" if node.generation == found.generation else f", published is {found.generation}"
    yield "generation", f"{node.generation or 'none'}{published}"
    if node.reason:
        yield "reason", node.reason
    yield "report", f"{age_text(node.age or 0)} old{_holders(node, found)}"
    yield "in service", "yes" if node.in_service else "no" + f", {node.apart}" * bool(node.apart)
    yield "BIRD", {None: "unknown", "": "answers"}.get(node.bird, node.bird or "")
    yield "clock", _clock(node.clock)
    if node.bundle:
        yield "bundle", short(node.bundle)
    if node.system:
        yield "system", node.system
    yield "orders", ", ".join(_orders(node, found)) or "none applied"
    yield from _repairs(node)
    yield from node.faults.items()


def _holders(node: NodeStatus, found: MeshStatus) -> str:
    """The registries that hold the report, of those that there are."""
    if not node.reported_to:
        return ""
    if len(node.reported_to) == len(found.registries):
        return ", at all registries" if len(found.registries) > 1 else ", at the registry"
    return f", at {', '.join(node.reported_to)} of {len(found.registries)} registries"


def _clock(ahead: float | None) -> str:
    if ahead is None:
        return "unknown"
    side = "ahead of" if ahead > 0 else "behind"
    return f"{age_text(abs(ahead))} {side} this machine's" if ahead else "as this machine's"


def _orders(node: NodeStatus, found: MeshStatus) -> Iterator[str]:
    """The orders that it has applied, and those in force that it has not."""
    in_force = {
        "drain": found.drain,
        "blackhole": found.blackhole,
        "hold": found.hold,
        "rollout": found.rollout,
    }
    for kind, number in node.orders.items():
        latest = in_force[kind]
        if number or latest:
            late = f" (in force is {latest})" if number < latest else ""
            yield f"{kind} {number or 'none'}{late}"


def _repairs(node: NodeStatus) -> Iterator[tuple[str, str]]:
    if node.repaired is not None:
        yield "repairs", f"{node.repaired} since its agent started"
    for one in node.repairs:
        times = "once" if one.times == 1 else f"{one.times} times"
        done = f"{times} in ten minutes" if one.times else "in vain"
        stopped = ", left alone now" if one.stopped else ""
        yield "", f"{one.what}: {done} ({one.why}){stopped}"


def _tables(name: str, node: NodeStatus, found: MeshStatus) -> Iterator[RenderableType]:
    of_services = _services(name, node, found)
    for rows in (_prefixes(node), of_services, _sessions(node), _tunnels(node)):
        if rows.row_count:
            yield ""
            yield rows
    yield ""


def _prefixes(node: NodeStatus) -> Table:
    rows = table("prefix", "announced", "why not")
    for prefix, state in node.announces.items():
        meant = node.apart if node.apart and state != "yes" else state
        rows.add_row(prefix, meant, escape("" if node.apart else node.why_not.get(prefix, "")))
    return rows


def _services(at: str, node: NodeStatus, found: MeshStatus) -> Table:
    rows = table("service", "state", "content", "unit", "why")
    for name in node.services:
        whole = found.services.get(name)
        state = node.apart or service_state(node, name, whole).strip(" ()") or "up"
        why = "" if node.apart else node.failures.get(name, "")
        content = short(node.contents.get(name, "")) or "-"
        older = " (older)" if whole is not None and at in whole.older else ""
        rows.add_row(*map(escape, (name, state, content + older, node.units.get(name, "-"), why)))
    return rows


def _sessions(node: NodeStatus) -> Table:
    """All sessions: those that are down first."""
    rows = table("session", "state", "for", "last error")
    for name, one in node.down.items():
        age = "" if one.age is None else age_text(one.age)
        rows.add_row(*map(escape, (name, state_text(one.state), age, one.error)))
    for name, state in sorted(_others(node).items()):
        note = "" if name in node.expected else "not expected by the plan"
        rows.add_row(*map(escape, (name, state_text(state), "", note)))
    return rows


def _others(node: NodeStatus) -> Mapping[str, str]:
    return {name: state for name, state in node.sessions.items() if name not in node.down}


def _tunnels(node: NodeStatus) -> Table:
    """The tunnels that are not in order."""
    rows = table("tunnel", "what is wrong")
    for name, why in node.tunnels.items():
        rows.add_row(*map(escape, (name, why)))
    return rows
