"""The addresses at which a node answers for its services, whether they are in service or not."""

from __future__ import annotations

from mesh.plan import Address, Node, Plan, PlannedService

SERVICES_TABLE = 4242
"""The routing table with what other nodes serve: any free number."""


def local(plan: Plan, node: Node) -> list[PlannedService]:
    """The services that a node may serve."""
    return [service for service in plan.services if service.name in node.services]


def addresses(service: PlannedService, node: Node) -> tuple[Address, ...]:
    """The addresses of a service that a node may have."""
    return tuple(each for each in service.addresses.both() if each.version == 4 or node.ipv6)


def answers(plan: Plan, node: Node) -> dict[int, tuple[Address, ...]]:
    """By IP version, the addresses of the services that a node may serve."""
    own = [each for service in local(plan, node) for each in addresses(service, node)]
    return {version: tuple(a for a in own if a.version == version) for version in (4, 6)}


def served(plan: Plan, node: Node) -> bool:
    """Whether a node may serve anything."""
    return any(answers(plan, node).values())


def versions(plan: Plan) -> tuple[int, ...]:
    """The IP versions of which the network's services have addresses."""
    every = {address.version for each in plan.services for address in each.addresses.both()}
    return tuple(sorted(every))
