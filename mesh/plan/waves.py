"""The order in which nodes take over a generation: a pure function of plan and changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.plan.model import Address, Network, Node, Plan, Role

SHARE = 3
"""One of so many of the announcers of a prefix, of the members and of all nodes may be in a wave;
one where there are fewer."""


@dataclass(frozen=True, slots=True)
class Touch:
    """What a generation changes at a node.

    ``changed`` is whether any of its files or its bundle differs. ``restarts`` are the BGP sessions
    that start anew, by BIRD's names; ``sure`` is False where what is in force there is not known,
    and it is assumed that every session does. ``joins``: the node has no generation in force.
    """

    changed: bool
    restarts: frozenset[str] = frozenset()
    joins: bool = False
    sure: bool = True

    @property
    def restarts_sessions(self) -> bool:
        """Whether a session starts anew, or may."""
        return self.changed and (bool(self.restarts) or not self.sure)


@dataclass(frozen=True, slots=True)
class Wave:
    """Nodes that apply a generation at the same time, after those of ``drained`` have drained
    themselves; ``why`` they are a wave, for the operator."""

    nodes: tuple[str, ...]
    drained: frozenset[str]
    why: str


def waves(plan: Plan, touches: Mapping[str, Touch], kinds: Mapping[str, str]) -> tuple[Wave, ...]:
    """The waves of a generation. ``touches`` has every node that takes part; ``kinds`` says what a
    node is besides its roles (provider, operating system and BIRD series), equal for nodes of the
    same kind.

    Nodes that join come first: no client is theirs yet. Then one node of each kind shows whether
    the generation works on it, then the others follow, registries last. What restarts a session is
    a wave of one.
    """
    return _Rollout(plan, touches, kinds).waves()


def only_announcers(plan: Plan, touches: Mapping[str, Touch]) -> dict[str, tuple[Network, ...]]:
    """The prefixes that nobody announces for a moment, by the node that is their only announcer and
    whose sessions with all upstreams of the family restart."""
    standing = _standing(touches)
    nodes = {node.id: node for node in plan.nodes}
    found: dict[str, list[Network]] = defaultdict(list)
    for each in plan.aggregates:
        able = [node for node in each.nodes if node in standing]
        if len(able) == 1 and _withdraws(nodes[able[0]], each.prefix, touches[able[0]]):
            found[able[0]].append(each.prefix)
    return {node: tuple(found[node]) for node in sorted(found)}


def _standing(touches: Mapping[str, Touch]) -> set[str]:
    """The nodes that have a generation in force: what others do in the place of a node."""
    return {node for node, touch in touches.items() if not touch.joins}


def _withdraws(node: Node, prefix: Network, touch: Touch) -> bool:
    """Whether no session over which a node announces a prefix outlives its change."""
    sessions = {each.name for each in node.upstreams if each.family == f"ipv{prefix.version}"}
    return touch.changed and (not touch.sure or sessions <= touch.restarts)


Group = tuple[str, object]
"""Nodes of which a wave holds a limited number: of a region, the announcers of a prefix, …"""


class _Rollout:
    """One generation, and the nodes that it goes to."""

    def __init__(self, plan: Plan, touches: Mapping[str, Touch], kinds: Mapping[str, str]) -> None:
        self._touches, self._kinds = touches, kinds
        self._nodes = {node.id: node for node in plan.nodes if node.id in touches}
        self._standing = _standing(touches) & self._nodes.keys()
        self._announced: dict[str, list[Network]] = defaultdict(list)
        for each in plan.aggregates:
            for node_id in each.nodes:
                self._announced[node_id].append(each.prefix)
        self._served = {node.id: _served(plan, node) for node in self._nodes.values()}
        self._groups = {node.id: self._groups_of(node) for node in self._nodes.values()}
        self._sizes = Counter(group for n in self._standing for group in self._groups[n])
        self._servers = Counter(address for n in self._standing for address in self._served[n])

    def waves(self) -> tuple[Wave, ...]:
        changed = sorted(node for node in self._nodes if self._touches[node].changed)
        joiners = tuple(node for node in changed if self._touches[node].joins)
        rest = [node for node in changed if node in self._standing]
        registries = [node for node in rest if Role.REGISTRY in self._nodes[node].roles]
        others = [node for node in rest if Role.REGISTRY not in self._nodes[node].roles]
        first, careful = self._first_of_kinds(others)
        shown = {*first, *careful}
        return (
            *([Wave(joiners, frozenset(), "joins")] if joiners else []),
            *self._in_turn(first, "the first of its kind"),
            *self._in_turn(careful, "the first of its kind, and no other node can stand in for it"),
            *self._in_turn(
                [node for node in others if node not in shown],
                f"at most one of {SHARE} nodes, and of those that announce a prefix",
            ),
            *(self._alone(node, "a registry, one at a time") for node in registries),
        )

    # --- what a wave may hold ----------------------------------------------------------------

    def _groups_of(self, node: Node) -> tuple[Group, ...]:
        found: list[Group] = [("nodes", None), ("region", node.region)]
        found += (("announcers", prefix) for prefix in self._announced[node.id])
        if Role.MEMBER in node.roles:
            found.append(("members", None))
        if Role.REFLECTOR in node.roles:
            found.append(("reflectors", None))
        return tuple(found)

    def _limit(self, group: Group) -> int:
        """How many of a group a wave may hold."""
        size = self._sizes[group]
        if group[0] == "region":
            return 1
        return max(1, size - 1 if group[0] == "reflectors" else size // SHARE)

    def _has_room(self, counts: Counter[Group], node: str) -> bool:
        return all(counts[group] < self._limit(group) for group in self._groups[node])

    # --- which nodes are first ---------------------------------------------------------------

    def _first_of_kinds(self, nodes: Iterable[str]) -> tuple[list[str], list[str]]:
        """One node of each kind: those that others can stand in for, and of kinds without such a
        node any."""
        kinds: dict[tuple[str, tuple[Role, ...]], list[str]] = defaultdict(list)
        for node in nodes:
            kinds[self._kinds.get(node, ""), self._nodes[node].roles].append(node)
        first: list[str] = []
        careful: list[str] = []
        counts: Counter[Group] = Counter()
        for _, alike in sorted(kinds.items()):
            able = [node for node in alike if self._is_replaceable(node)]
            chosen = self._gentlest(able or alike, counts)
            (first if able else careful).append(chosen)
            counts.update(self._groups[chosen])
        return first, careful

    def _gentlest(self, nodes: list[str], counts: Counter[Group]) -> str:
        """A node of which no session restarts, if there is one, and that can share the wave."""
        calm = [node for node in nodes if not self._touches[node].restarts_sessions] or nodes
        return next((node for node in calm if self._has_room(counts, node)), calm[0])

    def _is_replaceable(self, node: str) -> bool:
        """Whether other nodes announce what it announces, and reflect if it does."""
        return self._others_announce(node) and (
            ("reflectors", None) not in self._groups[node] or self._sizes["reflectors", None] > 1
        )

    def _others_announce(self, node: str) -> bool:
        return all(self._sizes["announcers", each] > 1 for each in self._announced[node])

    def _others_serve(self, node: str) -> bool:
        return all(self._servers[each] > 1 for each in self._served[node])

    # --- waves -------------------------------------------------------------------------------

    def _in_turn(self, nodes: list[str], why: str) -> list[Wave]:
        """These nodes in few waves, then those whose sessions restart one by one."""
        calm = [node for node in nodes if not self._touches[node].restarts_sessions]
        restarting = [node for node in nodes if self._touches[node].restarts_sessions]
        shared = [Wave(tuple(each), frozenset(), why) for each in self._packed(calm)]
        return [*shared, *(self._alone(node, why) for node in restarting)]

    def _packed(self, nodes: Iterable[str]) -> list[list[str]]:
        """Each node in the first wave with room for it, after those of the nodes of its region."""
        found: list[list[str]] = []
        counts: list[Counter[Group]] = []
        after: Counter[str] = Counter()
        for node in nodes:
            region = self._nodes[node].region
            fitting = (
                i for i in range(after[region], len(found)) if self._has_room(counts[i], node)
            )
            at = next(fitting, len(found))
            if at == len(found):
                found.append([])
                counts.append(Counter())
            found[at].append(node)
            counts[at].update(self._groups[node])
            after[region] = at + 1
        return found

    def _alone(self, node: str, why: str) -> Wave:
        """A wave of one; it is drained where sessions restart, if others do the node's work."""
        touch = self._touches[node]
        if not touch.restarts_sessions:
            return Wave((node,), frozenset(), why)
        sessions = ", ".join(sorted(touch.restarts)) if touch.sure else "perhaps every session"
        why += f"; restarts {sessions}"
        if missing := self._missing_beside(node):
            return Wave((node,), frozenset(), f"{why}; not drained, since no other {missing}")
        return Wave((node,), frozenset({node}), why)

    def _missing_beside(self, node: str) -> str | None:
        """What only this node does."""
        if not self._others_announce(node):
            return "node announces all of its prefixes"
        if not self._others_serve(node):
            return "node serves all of its services"
        return None


def _served(plan: Plan, node: Node) -> tuple[Address, ...]:
    """The addresses of the services that a node may serve."""
    return tuple(
        address
        for service in plan.services
        if service.name in node.services
        for address in service.addresses.both()
        if address.version == 4 or node.ipv6
    )
