"""Which nodes serve each service, in which family and with which content, by their signed reports.

The reports of older agents have no families: there a service counts in all families that it has
addresses of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mesh.plan import Plan
from mesh.plan.model import PlannedService
from mesh.publish.recent import is_recent
from mesh.trust.documents import Health, Report

FAMILIES = ("ipv4", "ipv6")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Who serves a service, by family: of the nodes that may, that are not drained and whose last
    report is recent. ``content`` is the SHA-256 of what the plan has it serve, empty where it has
    none; ``older`` are the nodes that serve another content. ``blackholed`` are those of its
    addresses that the blackhole order has discarded, ``blackholed_in`` the families in which these
    are all that it has."""

    served_by: dict[str, tuple[str, ...]]
    not_by: dict[str, tuple[str, ...]]
    content: str = ""
    older: dict[str, str] = field(default_factory=dict)
    blackholed: tuple[str, ...] = ()
    blackholed_in: tuple[str, ...] = ()


def services(
    plan: Plan,
    reports: Mapping[str, Report],
    apart: Collection[str],
    now: float,
    discarded: Collection[str] = (),
) -> dict[str, ServiceStatus]:
    """The status of each service of the plan; nodes ``apart`` are drained or unreachable, and
    ``discarded`` are the blackholed addresses."""
    known = {
        node: one.health
        for node, one in reports.items()
        if node not in apart and is_recent(one, now) and not one.health.drained
    }
    return {service.name: _service(service, known, discarded) for service in plan.services}


def _service(
    service: PlannedService, known: Mapping[str, Health], discarded: Collection[str]
) -> ServiceStatus:
    told = {
        node: families_of(known[node], service)
        for node in service.nodes
        if node in known and service.name in known[node].services
    }
    content = "" if service.content is None else service.content.sha256
    held = {node: known[node].contents.get(service.name, "") for node in told}
    return ServiceStatus(
        {family: _nodes(told, family, up=True) for family in _families(service)},
        {family: _nodes(told, family, up=False) for family in _families(service)},
        content,
        {node: sha256 for node, sha256 in held.items() if content and sha256 not in ("", content)},
        tuple(str(one) for one in service.addresses.both() if str(one) in discarded),
        tuple(one for one in _families(service) if _addresses(service, one) <= set(discarded)),
    )


def families_of(health: Health, service: PlannedService) -> dict[str, bool]:
    """Whether a node serves a service, by family."""
    up = health.services[service.name]
    return by_family(health).get(service.name) or dict.fromkeys(_families(service), up)


def serving(health: Health) -> set[tuple[str, str]]:
    """What a node serves, by service and family."""
    return {
        (name, family)
        for name, up in health.services.items()
        for family, here in (by_family(health).get(name) or dict.fromkeys(FAMILIES, up)).items()
        if here
    }


def by_family(health: Health) -> dict[str, dict[str, bool]]:
    """Whether a node serves each service, by family."""
    return {
        name: {str(family): here for family, here in each.items()}
        for name, each in health.families.items()
    }


def _addresses(service: PlannedService, family: str) -> set[str]:
    return {str(one) for one in service.addresses.both() if f"ipv{one.version}" == family}


def _families(service: PlannedService) -> list[str]:
    versions = {f"ipv{address.version}" for address in service.addresses.both()}
    return [family for family in FAMILIES if family in versions]


def _nodes(told: Mapping[str, Mapping[str, bool]], family: str, *, up: bool) -> tuple[str, ...]:
    return tuple(sorted(n for n, families in told.items() if families.get(family) is up))
