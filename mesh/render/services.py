"""The addresses at which a node answers for its services, whether they are in service or not."""

from __future__ import annotations

from mesh.plan import Address, Node, Plan

SERVICES_TABLE = 4242
"""The routing table with what other nodes serve: any free number."""


def answers(plan: Plan, node: Node) -> dict[int, tuple[Address, ...]]:
    """By IP version, the addresses of the services that a node may serve."""
    own = (service for service in plan.services if service.name in node.services)
    addresses = [address for service in own for address in service.addresses.both()]
    able = (4, 6) if node.ipv6 else (4,)
    return {
        version: tuple(a for a in addresses if a.version == version and version in able)
        for version in (4, 6)
    }


def served(plan: Plan, node: Node) -> bool:
    """Whether a node may serve anything."""
    return any(answers(plan, node).values())


def versions(plan: Plan) -> tuple[int, ...]:
    """The IP versions of which the network's services have addresses."""
    every = {address.version for each in plan.services for address in each.addresses.both()}
    return tuple(sorted(every))
