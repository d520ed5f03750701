"""The port of the looking glass, which may be a service's or that of another listener."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.spec.model import Glass, Service
from mesh.spec.ports import listeners
from mesh.spec.section import Sections


def glass_of(sections: Sections) -> Glass | None:
    """The looking glass that the nodes run; None where it is off, or another one has its port."""
    glass: Glass | None = sections.get("glass")
    if glass is None or not glass.enabled or holder(sections, glass.port) is not None:
        return None
    return glass


def holder(sections: Sections, port: int) -> str | None:
    """Who has a TCP port at nodes already; None where it is free."""
    return next((who for who, first, last in _held(sections) if first <= port <= last), None)


def free_port(sections: Sections, port: int) -> int:
    """The first free TCP port from ``port`` on."""
    while holder(sections, port) is not None:
        port = port + 1 if port < 65535 else 1024
    return port


def _held(sections: Sections) -> Iterator[tuple[str, int, int]]:
    """Who has which TCP ports, from the first to the last of each."""
    for own in listeners(sections):
        if own.protocol == "tcp":
            yield own.what, own.first, own.last
    services: Mapping[str, Service] = sections.get("services") or {}
    for name, service in services.items():
        for port in service.open_ports.tcp:
            yield f"the service {name}", port, port
