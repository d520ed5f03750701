"""What the answers of several nodes say together: rows of the pages' tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from mesh.glass.answers import Answer, NodeAnswer
from mesh.glass.condition import FAMILIES, LEVELS, Condition, Notice, notices, of_node
from mesh.glass.map import LineState
from mesh.glass.network import Network
from mesh.glass.phrases import few
from mesh.glass.snapshot import Snapshot

YES, NO = Condition("good", "yes"), Condition("bad", "no")
NOT_NOW = Condition("notice", "no")
"""Withdrawn on purpose."""
OPEN = Condition("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node in the table of the mesh; ``snapshot`` is None where there is none, and ``why`` says
    why. ``announces`` are its prefixes, each with whether it announces it."""

    id: str
    condition: Condition
    why: str
    snapshot: Snapshot | None
    announces: dict[str, Condition]
    services: tuple[int, int]
    """How many it serves, of how many."""
    sessions: tuple[int, int]
    """How many are up, of how many."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel of the plan and its state as its ends say it."""

    ends: tuple[str, str]
    cost: int
    state: LineState


@dataclass(frozen=True, slots=True)
class Blackholed:
    """A blackholed address, and the ``nodes`` that discard it. ``by`` is empty where the operator's
    order names it, otherwise the peer that alone announces it."""

    address: str
    until: float
    reason: str
    signed: bool
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Orders:
    """The orders in force: blackholes, drained nodes, and nodes on hold with when that ends."""

    blackholes: tuple[Blackholed, ...]
    drained: tuple[str, ...]
    held: dict[str, float]

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return bool(self.blackholes or self.drained or self.held)


def heard(answer: Answer[Snapshot]) -> dict[str, Snapshot]:
    """The snapshots that there are, by node."""
    pairs = ((name, each.data) for name, each in answer.nodes.items() if each.ok)
    return {name: data for name, data in pairs if data is not None}


def node_rows(network: Network, answer: Answer[Snapshot], now: float) -> list[NodeRow]:
    """The nodes that were asked, those of the plan first."""
    plan = [each.id for each in network.nodes if each.id in answer.nodes]
    rest = [name for name in answer.nodes if name not in network.by_id]
    return [node_row(network, name, answer.nodes[name], now) for name in (*plan, *rest)]


def without_glass(network: Network) -> list[NodeRow]:
    """The nodes of the plan that run no looking glass, and are seen by their peers alone."""
    state = Condition("unknown", "runs no looking glass")
    return [
        NodeRow(each.id, state, "", None, {}, (0, 0), (0, 0))
        for each in network.nodes
        if not each.has_glass
    ]


def node_row(network: Network, node_id: str, answer: NodeAnswer[Snapshot], now: float) -> NodeRow:
    """One node in the table."""
    snapshot = answer.data if answer.ok else None
    row = NodeRow(node_id, of_node(answer, now), answer.why, snapshot, {}, (0, 0), (0, 0))
    if snapshot is None:
        return row
    serves, sessions = snapshot.health.services.values(), snapshot.sessions
    return replace(
        row,
        announces=announces(network, snapshot),
        services=(sum(serves), len(serves)),
        sessions=(sum(each.up for each in sessions), len(sessions)),
    )


def announces(network: Network, snapshot: Snapshot) -> dict[str, Condition]:
    """By prefix whether a node announces it to an upstream."""
    apart, unknown = snapshot.health.apart, bool(snapshot.health.bird)
    own = [str(each.prefix) for each in network.aggregates if snapshot.node in each.nodes]
    unsaid = {prefix: OPEN for prefix in own if prefix not in snapshot.prefixes}
    said = {
        prefix: OPEN if unknown else YES if announced else NOT_NOW if apart else NO
        for prefix, announced in snapshot.prefixes.items()
    }
    return said | unsaid


def tunnels(network: Network, snapshots: Mapping[str, Snapshot]) -> list[Tunnel]:
    """The tunnels of the plan, those that are not up first."""
    up = {
        (name, session.peer): session.up
        for name, snapshot in snapshots.items()
        for session in snapshot.sessions
        if session.kind == "tunnel"
    }
    rank = {"down": 0, "unknown": 1, "up": 2}
    found = [Tunnel(each.ends, each.cost, _state(up, each.ends)) for each in network.links]
    return sorted(found, key=lambda each: (rank[each.state], each.ends))


def _state(up: Mapping[tuple[str, str], bool], ends: tuple[str, str]) -> LineState:
    said = {up.get(ends), up.get((ends[1], ends[0]))} - {None}
    if not said:
        return "unknown"
    return "up" if said == {True} else "down"


def regions(network: Network, rows: list[NodeRow]) -> dict[str, str]:
    """By region with nodes the state of the one in it that most needs a look."""
    found: dict[str, str] = {}
    for row in rows:
        if node := network.by_id.get(row.id):
            before = found.get(node.region, row.condition.level)
            found[node.region] = max(before, row.condition.level, key=lambda n: _RANK[n])
    return found


_RANK: dict[str, int] = {level: rank for rank, level in enumerate(LEVELS)}


def all_notices(network: Network, answer: Answer[Snapshot], now: float) -> list[Notice]:
    """What needs a look at any node, the worst first. What others say of a node that does not
    answer is one notice."""
    away = {name for name, each in answer.nodes.items() if not each.ok}
    lost: Counter[str] = Counter()
    found = []
    for name, snapshot in heard(answer).items():
        gone = {each.peer for each in snapshot.sessions if each.peer in away and not each.up}
        lost.update(gone)
        kept = _without(snapshot, gone)
        found += [replace(each, node=name) for each in notices(network, kept, now)]
    for name in away:
        by = few(lost[name], "node has", "nodes have")
        said = f"No answer, and {by} lost sessions with it:" if lost[name] else "No answer:"
        found.append(Notice("bad", said, answer.nodes[name].why, node=name))
    return sorted(found, key=lambda each: -_RANK[each.level])


def _without(snapshot: Snapshot, peers: Collection[str]) -> Snapshot:
    """A snapshot without the sessions and tunnels with these peers."""
    interfaces = {each.interface for each in snapshot.tunnels if each.peer in peers}
    tunnels = (snapshot.health.tunnels or {}).items()
    kept = {name: what for name, what in tunnels if name not in interfaces}
    return replace(
        snapshot,
        sessions=tuple(each for each in snapshot.sessions if each.peer not in peers or each.up),
        health=replace(snapshot.health, tunnels=kept),
    )


def orders(snapshots: Mapping[str, Snapshot], now: float) -> Orders:
    """The orders that nodes follow now."""
    found: dict[tuple[str, float, str, bool], list[str]] = {}
    for name, snapshot in snapshots.items():
        for each in snapshot.blackholes:
            key = (str(each.address), each.until, each.reason, each.signed)
            found.setdefault(key, []).append(name)
    return Orders(
        blackholes=tuple(Blackholed(*key, tuple(names)) for key, names in sorted(found.items())),
        drained=tuple(name for name, each in snapshots.items() if each.health.drained),
        held={
            name: each.health.held
            for name, each in snapshots.items()
            if each.health.held and each.health.held > now
        },
    )


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service at a node: by family whether the node serves it, and why it does not."""

    name: str
    condition: Condition
    families: dict[str, bool]
    why: str
    unit: str
    content: str


def service_rows(snapshot: Snapshot) -> Iterator[ServiceRow]:
    """The services that a node may serve."""
    health = snapshot.health
    for name, serves in sorted(health.services.items()):
        families = health.families.get(name, {})
        state = YES if serves else NOT_NOW if health.apart else NO
        yield ServiceRow(
            name,
            state,
            {FAMILIES[family]: up for family, up in families.items()},
            health.failures.get(name, ""),
            health.units.get(name, ""),
            health.contents.get(name, "")[:12],
        )


def serving(snapshots: Mapping[str, Snapshot], name: str) -> tuple[str, ...]:
    """The nodes that serve a service in all families."""
    return tuple(node for node, each in snapshots.items() if each.health.services.get(name))
