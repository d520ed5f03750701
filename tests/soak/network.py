"""What a network with faults owes its clients, by the plan and by the faults that are active."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mesh.plan import Plan
from mesh.plan.model import PlannedService

Active = Mapping[str, frozenset[str]]
"""Verbs that are active by target; a tunnel's ends are in order."""

SILENT = frozenset({"blackhole", "link-down", "power-loss"})
"""Nobody hears the node."""
NO_BGP = SILENT | {"kill-daemon", "hang"}
"""The node has no session."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds for which a client may have no answer after a fault, and after its end."""

    fault: float
    heal: float = 3.0


HOLD = 9.0
"""The hold time of upstream sessions: who is silent is given up after it."""
BOUNDS = {
    "withdraw": Bound(1),
    "kill-daemon": Bound(1),
    "hang": Bound(1),
    "link-down": Bound(HOLD + 1),
    "tunnel-cut": Bound(1),
    "blackhole": Bound(HOLD + 1),
    "power-loss": Bound(HOLD + 1),
    "service-down": Bound(3),
    "registry-down": Bound(1),
}


def verbs_of(active: Active, node: str) -> frozenset[str]:
    """What is active on a node itself."""
    return active.get(node, frozenset())


def is_clean(active: Active, node: str) -> bool:
    """Whether nothing is wrong at a node or with any of its tunnels."""
    return not any(node in target.split(":") for target in active)


def announcers(plan: Plan, active: Active) -> frozenset[str]:
    """The nodes that the Internet is to hear of, once each fault has been noticed."""
    return frozenset(
        node.id
        for node in plan.nodes
        if node.upstreams and not verbs_of(active, node.id) & (NO_BGP | {"withdraw"})
    )


def owed(plan: Plan, active: Active, service: PlannedService) -> bool:
    """Whether every client is to be answered at a service: some node announces, and whoever does
    reaches an instance."""
    announcing = announcers(plan, active)
    serving = {node for node in service.nodes if "service-down" not in verbs_of(active, node)}
    return bool(announcing) and all(
        not part & announcing or part & serving for part in _parts(plan, active)
    )


def can_tell(plan: Plan, active: Active) -> bool:
    """Whether a registry is there to be asked."""
    return any(
        not verbs_of(active, node) & (SILENT | {"registry-down"}) for node in registries(plan)
    )


def registries(plan: Plan) -> tuple[str, ...]:
    """The nodes with a registry."""
    return tuple(node.id for node in plan.nodes if "registry" in node.roles)


def _parts(plan: Plan, active: Active) -> Iterator[frozenset[str]]:
    """The nodes that reach each other through the mesh; those without BGP are in none."""
    left = {node.id for node in plan.nodes if not verbs_of(active, node.id) & NO_BGP}
    links = {node.id: {link.peer for link in node.links} for node in plan.nodes}
    while left:
        part = {left.pop()}
        edge = set(part)
        while edge:
            one = edge.pop()
            near = {
                other
                for other in links[one] & left
                if "tunnel-cut" not in active.get(tunnel(one, other), ())
            }
            left -= near
            part |= near
            edge |= near
        yield frozenset(part)


def tunnel(one: str, other: str) -> str:
    """A tunnel as a target."""
    return ":".join(sorted((one, other)))
