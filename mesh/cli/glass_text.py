"""Answers of a looking glass for a person. Whatever is in them is text of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import TypeVar

from rich.console import RenderableType
from rich.markup import escape

from mesh.cli.tables import table
from mesh.foreign import printable
from mesh.glass.answers import (
    Answer,
    Community,
    Hop,
    NodeAnswer,
    Refused,
    Route,
    Routes,
    Served,
    Way,
)
from mesh.glass.snapshot import Snapshot
from mesh.hanging import Hanging
from mesh.publish.announcers import announced_families
from mesh.publish.problems import age_text, family_name

FAMILIES = ("ipv4", "ipv6")
USED, REFUSED = "bold green", "red"

T = TypeVar("T")


def unanswered(answer: Answer[T]) -> dict[str, str]:
    """The nodes that gave no answer, with the reason."""
    return {
        node: printable(one.why) or "no answer"
        for node, one in sorted(answer.nodes.items())
        if not one.ok or one.data is None
    }


def parts(
    answer: Answer[T], of_node: Callable[[T, float], Iterator[RenderableType]]
) -> Iterator[RenderableType]:
    """Each node with what ``of_node`` makes of its data and of the time of the answer; then the
    nodes without an answer."""
    for node, one in sorted(answer.nodes.items()):
        if one.ok and one.data is not None:
            yield Hanging(_node_line(node, one), "bold")
            yield from _notes([one.why])
            yield from of_node(one.data, answer.at)
    yield from _missing(answer)


def _node_line(node: str, one: NodeAnswer[T]) -> str:
    cut = ", more than it sends" if one.truncated else ""
    return f"{printable(node)} ({one.took_ms:.0f} ms{cut})"


def _missing(answer: Answer[T]) -> Iterator[RenderableType]:
    for node, why in unanswered(answer).items():
        yield Hanging(why, REFUSED, f"{printable(node)}:")


def routes(found: Routes, at: float) -> Iterator[RenderableType]:
    """The routes of one node: those in use first, refused ones last."""
    yield from _notes(found.notes)
    if not found.routes:
        yield Hanging("  no route")
    for route in sorted(found.routes, key=lambda one: (not one.used, one.refused is not None)):
        yield from _route(route, at)
    yield from _notes([found.cut])


def _route(route: Route, at: float) -> Iterator[RenderableType]:
    style = USED if route.used else REFUSED if route.refused is not None else ""
    label = f"  {_address(route.prefix)}"
    yield Hanging(f"in {printable(route.table)}, {_verdict(route)}", style, label)
    for line in filter(None, (_from(route, at), _path(route), _values(route))):
        yield Hanging(f"    {line}")
    if route.communities:
        yield Hanging(f"    communities {', '.join(map(_community, route.communities))}")


def _address(text: str) -> str:
    """An address or prefix as it is: ``::/0`` looks like the beginning of a command of CI runners,
    and is none."""
    try:
        return str(ip_network(text, strict=False)) if "/" in text else str(ip_address(text))
    except ValueError:
        return printable(text)


def _verdict(route: Route) -> str:
    """``used``, ``not used`` or ``refused``, and why."""
    if route.refused is not None:
        return f"refused: {printable(route.refused) or 'without a reason'}"
    why = f": {printable(route.why)}" if route.why else ""
    return ("used" if route.used else "not used") + why


def _from(route: Route, at: float) -> str:
    session = printable(route.session)
    words = f"{route.kind} {session}".strip()
    if route.peer:
        source = f"{route.kind}, {session}" if session else route.kind
        words = f"from {printable(route.peer)} ({source})"
    if to := _address(route.next_hop):
        words += f", next hop {to}" + (f" ({printable(route.node)})" if route.node else "")
    if route.interface:
        words += f" on {printable(route.interface)}"
    return words + (f", for {age_text(max(0.0, at - route.since))}" if route.since else "")


def _path(route: Route) -> str:
    nodes = [name for name in map(printable, route.nodes) if name]
    over = f" over {', '.join(nodes)}" if nodes else ""
    return f"path {' '.join(map(str, route.path))}{over}" if route.path else ""


def _values(route: Route) -> str:
    """What decides between routes, and what validation says."""
    values = {"local preference": route.local_pref, "MED": route.med}
    found = [f"{name} {value}" for name, value in values.items() if value is not None]
    found += [
        f"{name} {state}"
        for name, state in (("ROV", route.rov), ("ASPA", route.aspa))
        if state != "not checked"
    ]
    return ", ".join(found)


def _community(one: Community) -> str:
    name = f" ({printable(one.name)})" if one.name else ""
    return printable(one.value) + name


def _notes(notes: Sequence[str]) -> Iterator[RenderableType]:
    for note in filter(None, map(printable, notes)):
        yield Hanging(f"  {note}", "yellow")


def refused(found: Refused, at: float) -> Iterator[RenderableType]:
    """The refused routes of one node: how many for each reason, and the first of them."""
    yield from _notes(found.notes)
    if not found.counts and not found.routes:
        yield Hanging("  nothing is refused")
    for reason, count in sorted(found.counts.items(), key=lambda item: -item[1]):
        yield Hanging(f"  {count}: {printable(reason)}")
    for route in found.routes:
        path = f", path {' '.join(map(str, route.path))}" if route.path else ""
        reason = printable(route.refused or "") or "without a reason"
        yield Hanging(
            f"from {printable(route.peer or route.session)}{path}: {reason}", REFUSED,
            f"  {_address(route.prefix)}",
        )  # fmt: skip
    yield from _notes([found.cut])


def way(found: Way, at: float) -> Iterator[RenderableType]:
    """The way by the plan, and the one in use."""
    yield Hanging(f"  by plan: {_hops(found.planned)}")
    if found.in_use is None:
        yield Hanging(f"  in use: none, {printable(found.why) or 'no route leads there'}", REFUSED)
        return
    elif found.in_use == found.planned:
        yield Hanging("  in use: the same")
    else:
        yield Hanging(f"  in use: {_hops(found.in_use)}", "yellow")
    yield from _notes([found.why])


def _hops(hops: Sequence[Hop]) -> str:
    """``ewr-vultr-1, ord-vultr-1 (+12), total 12``."""
    if not hops:
        return "none"
    words = [printable(hop.node) + (f" (+{hop.cost})" if hop.cost else "") for hop in hops]
    return f"{' > '.join(words)}, cost {sum(hop.cost for hop in hops)}"


def served(answer: Answer[Served]) -> Iterator[RenderableType]:
    """Who serves a service, as each node sees it."""
    rows = table("node", *map(family_name, FAMILIES))
    for node, one in sorted(answer.nodes.items()):
        if one.ok and one.data is not None:
            cells = (_served(one.data, family) for family in FAMILIES)
            rows.add_row(*map(escape, (printable(node), *cells)))
    if rows.row_count:
        yield rows
    yield from _missing(answer)


def _served(one: Served, family: str) -> str:
    if one.serves.get(family):
        return "itself"
    if taken := one.taken_from.get(family):
        return f"from {printable(taken)}"
    return "nobody" if family in one.serves or family in one.taken_from else "-"


def nodes(answer: Answer[Snapshot]) -> Iterator[RenderableType]:
    """All nodes, each by its own snapshot; it fits into 80 columns."""
    rows = table("node", "state", "generation", "announces", "services", "sessions")
    for node, one in sorted(answer.nodes.items()):
        if one.ok and one.data is not None:
            rows.add_row(*map(escape, map(printable, _cells(node, one.data))))
    if rows.row_count:
        yield rows
    for node, one in sorted(answer.nodes.items()):
        if one.ok and one.data is not None:
            if one.why:
                yield Hanging(printable(one.why), "yellow", f"{printable(node)}:")
            yield from _troubles(printable(node), one.data, answer.at)
    yield from _blackholes(answer)
    yield from _missing(answer)


def _cells(node: str, one: Snapshot) -> tuple[str, ...]:
    health = one.health
    apart = "drained" if health.drained else "updating" if health.updating else ""
    unknown = "unknown" if health.bird else ""
    up = sum(session.up for session in one.sessions)
    return (
        node,
        one.generation.outcome + (" (held)" if health.held else ""),
        str(one.generation.applied or "-"),
        apart or unknown or _announces(one.prefixes),
        apart if apart and health.services else _services(one) or "-",
        unknown or f"{up} of {len(one.sessions)}",
    )


def _announces(prefixes: Mapping[str, bool]) -> str:
    found = {}
    for prefix, announced in prefixes.items():
        try:
            found[ip_network(prefix)] = "yes" if announced else "no"
        except ValueError:
            return "unknown"
    return announced_families(found)


def _services(one: Snapshot) -> str:
    return ", ".join(name + " (down)" * (not up) for name, up in one.health.services.items())


def _troubles(node: str, one: Snapshot, at: float) -> Iterator[RenderableType]:
    """What a row has no room for."""
    if one.health.bird:
        yield Hanging(f"its BIRD {printable(one.health.bird)}", REFUSED, f"{node}:")
    if one.generation.outcome == "failed":
        failed = f"generation {one.generation.published} failed: {printable(one.generation.reason)}"
        yield Hanging(failed, REFUSED, f"{node}:")
    for name, why in ({} if one.health.apart else one.health.failures).items():
        yield Hanging(f"{node}: service {printable(name)} is down: {printable(why)}")
    for session in one.sessions:
        if not session.up:
            age = f" for {age_text(max(0.0, at - session.since))}" if session.since else ""
            error = f": {printable(session.error)}" if session.error else ""
            state = printable(session.state)
            name = f"{printable(session.name)} ({printable(session.peer)})"
            yield Hanging(f"{node}: {name} is down{age} ({state}){error}")


def _blackholes(answer: Answer[Snapshot]) -> Iterator[RenderableType]:
    """The blackholes in force, each with the nodes that discard its packets."""
    found: dict[str, list[str]] = {}
    for node, one in sorted(answer.nodes.items()):
        for entry in () if one.data is None else one.data.blackholes:
            word = "" if entry.signed else ", on a peer's word alone"
            why = f": {printable(entry.reason)}" if entry.reason else ""
            left = age_text(max(0.0, entry.until - answer.at))
            line = f"blackhole {entry.address}, {left} left{word}{why}"
            found.setdefault(line, []).append(printable(node))
    for line, at in found.items():
        everywhere = len(at) == len(answer.nodes)
        yield Hanging(line + (" (at all nodes)" if everywhere else f" (at {', '.join(at)})"))
