"""Where replies leave that a node's own upstream does not take: at the nearest node that announces
the prefix which they come from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from mesh.plan import Address, Aggregate, Network, Node, Plan, Role
from mesh.plan.firewall import PRIVATE4

REPLIES_TABLE = 27218
"""The routing table with the default route to the nearest edge: any free number. Those of further
exits have the numbers after it."""
FIRST = 1000
"""The first priority of the rules that lead to these tables."""


@dataclass(frozen=True, slots=True)
class ReplyTable:
    """A table with a default route to an exit: ``suffix`` is in the names of BIRD's parts."""

    version: int
    suffix: str
    exit: Address
    number: int


@dataclass(frozen=True, slots=True)
class ReplyRule:
    """A rule of ``ip rule``."""

    version: int
    priority: int
    text: str


def leaves_elsewhere(node: Node, each: Aggregate) -> bool:
    """Whether a node's replies from this aggregate leave at another node."""
    if each.exit is None:
        return Role.MEMBER in node.roles
    return node.id not in each.nodes


def tables(plan: Plan, node: Node) -> tuple[ReplyTable, ...]:
    """The tables of a node."""
    found: dict[tuple[int, int], ReplyTable] = {}
    if Role.MEMBER in node.roles:
        for exit in plan.exits.both():
            found[exit.version, 0] = ReplyTable(exit.version, "", exit, REPLIES_TABLE)
    for each in _owned(plan):
        if each.exit is not None and leaves_elsewhere(node, each):
            number = _number(plan, each)
            key = (each.prefix.version, number)
            found[key] = ReplyTable(
                each.prefix.version, f"_{number}", each.exit, REPLIES_TABLE + number
            )
    return tuple(found.values())


def rules(plan: Plan, node: Node, has_vpc: bool) -> tuple[ReplyRule, ...]:
    """The rules of a node. Each aggregate has its own priorities, whether this node has rules for
    it or not. What a node announces of an aggregate that others announce leaves by its own
    uplink."""
    found: list[ReplyRule] = []
    for version in (4, 6):
        priority = FIRST
        for part in _parts(plan, version):
            covering = next(each for each in _owned(plan) if each.prefix == part.covering)
            if node.id in part.nodes and leaves_elsewhere(node, covering):
                found.append(ReplyRule(version, priority, f"from {part.prefix} lookup main"))
            priority += 1
        for each in _owned(plan):
            if each.prefix.version != version:
                continue
            ways = _ways(plan, each, has_vpc and version == 4)
            if leaves_elsewhere(node, each):
                found += (
                    ReplyRule(version, priority + place, f"from {each.prefix} {way}")
                    for place, way in enumerate(ways)
                )
            priority += len(ways)
    return tuple(found)


def cleared(plan: Plan, node: Node, has_vpc: bool) -> tuple[tuple[int, int], ...]:
    """The versions and priorities whose rules are removed before those of :func:`rules` are
    added."""
    if not plan.announces_apart:
        return tuple((each.version, each.priority) for each in rules(plan, node, has_vpc))
    found: list[tuple[int, int]] = []
    for version in (4, 6):
        ways = [
            len(_ways(plan, each, has_vpc and version == 4))
            for each in _owned(plan)
            if each.prefix.version == version
        ]
        count = sum(ways) + len(_parts(plan, version))
        found += ((version, FIRST + place) for place in range(count))
    return tuple(found)


def sources(plan: Plan) -> dict[Network, list[Address]]:
    """By aggregate, the addresses of it from which replies leave elsewhere than at the node that
    answers: of nodes, and of services that they may serve."""
    owned = {each.prefix: each for each in _owned(plan)}
    lengths = sorted({(prefix.version, prefix.prefixlen) for prefix in owned})
    nodes = {node.id: node for node in plan.nodes}
    holders: dict[Address, tuple[str, ...]] = {}
    for node in plan.nodes:
        holders |= dict.fromkeys(node.announced.both(), (node.id,))
    for service in plan.services:
        holders |= dict.fromkeys(service.addresses.both(), service.nodes)
    found: dict[Network, list[Address]] = {prefix: [] for prefix in owned}
    for address, ids in holders.items():
        for version, length in lengths:
            if version != address.version:
                continue
            prefix = ip_network((address, length), strict=False)
            if prefix in owned and any(leaves_elsewhere(nodes[n], owned[prefix]) for n in ids):
                found[prefix].append(address)
    return {prefix: sorted(addresses, key=int) for prefix, addresses in found.items()}


def _owned(plan: Plan) -> Iterable[Aggregate]:
    return (each for each in plan.aggregates if each.covering is None)


def _parts(plan: Plan, version: int) -> list[Aggregate]:
    return [a for a in plan.aggregates if a.covering is not None and a.prefix.version == version]


def _number(plan: Plan, each: Aggregate) -> int:
    """How far an exit is from that of all edges; 0 for the latter."""
    default = plan.exits.ipv4 if each.prefix.version == 4 else plan.exits.ipv6
    return 0 if each.exit is None or default is None else int(default) - int(each.exit)


def _ways(plan: Plan, each: Aggregate, to_private: bool) -> list[str]:
    """Where packets from an aggregate go: to other nodes, from a VPC's node to its instances, to
    the exit, or nowhere."""
    private = [f"to {net} lookup main" for net in PRIVATE4] if to_private else []
    table = REPLIES_TABLE + _number(plan, each)
    return ["lookup main suppress_prefixlength 0", *private, f"lookup {table}", "unreachable"]
