"""What answers for a node's services: nginx, NSD and whoami, by the services' kinds."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.plan import Address, Node, Plan
from mesh.render.files import File
from mesh.render.services import addresses, local
from mesh.render.templates import rendered

SET_UP = ("web", "dns")
"""Kinds whose daemon the node sets up, each in a unit ``anycast-mesh-<kind>@<service>.service``."""
HTTP = 80


def files(plan: Plan, node: Node) -> Iterator[File]:
    """The configuration of each daemon, and the pointer to each content."""
    for service in local(plan, node):
        if service.kind in SET_UP:
            yield File(
                f"/etc/anycast-mesh/{service.kind}/{service.name}.conf",
                rendered(
                    f"debian/services/{service.kind}.conf.j2",
                    service=service,
                    node=node,
                    addresses=addresses(service, node),
                    zones=() if service.content is None else service.content.zones,
                ),
            )
        if service.content is not None:
            path = f"/etc/anycast-mesh/content/{service.name}"
            yield File(path, f"{service.content.sha256}\n")


def used(plan: Plan, node: Node) -> tuple[str, ...]:
    """The kinds that a node sets up."""
    found = {service.kind for service in local(plan, node)}
    return tuple(kind for kind in SET_UP if kind in found)


def units(plan: Plan, node: Node) -> Iterator[str]:
    """The units of the daemons."""
    for service in local(plan, node):
        if service.kind in SET_UP:
            yield f"anycast-mesh-{service.kind}@{service.name}.service"


def has_whoami(plan: Plan, node: Node) -> bool:
    """Whether whoami answers anything at a node."""
    return plan.whoami and whoami_at(plan, node) != ()


def whoami_at(plan: Plan, node: Node) -> tuple[Address, ...] | None:
    """The addresses at which whoami answers; None for all that the node has, where no service has
    a kind.

    Beside those of services these are the node's own announced ones, unless an external daemon has
    the port here: it may listen at every address, which would fail then.
    """
    if all(service.kind is None for service in plan.services):
        return None
    found: list[Address] = []
    own = local(plan, node)
    if not any(one.kind == "external" and HTTP in one.ports.tcp for one in own):
        found += node.announced.both()
    for service in own:
        if service.kind in (None, "whoami") and HTTP in service.ports.tcp:
            found += addresses(service, node)
    return tuple(found)
