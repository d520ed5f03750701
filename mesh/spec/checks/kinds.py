"""Kinds of services: what each needs, and what it does not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.spec.examples import for_example
from mesh.spec.model import PORTS, Service
from mesh.spec.problems import Problem
from mesh.spec.section import Sections

SERVED = ("web", "dns")
"""Kinds that serve content."""
FIXED = {
    "web": "nginx, as nodes set it up, serves HTTP at TCP 80 alone",
    "dns": "NSD, as nodes set it up, answers at TCP and UDP 53, and at no other port",
    "whoami": "whoami answers at TCP 80 alone",
}
"""Why the ports of a kind are given."""
NODES_OWN = ("anycast-mesh-", "bird.", "nftables.", "ssh.", "ssh@", "systemd-", "wg-quick@")
"""Beginnings of units that are the node's own."""


def check_kinds(sections: Sections) -> Iterator[Problem]:
    """Each service has what its kind needs, and nothing of another kind."""
    services: Mapping[str, Service] = sections.get("services") or {}
    for name, service in services.items():
        key = f"mesh:services.{name}"
        yield from _missing(key, name, service)
        yield from _unused(key, service)
        yield from _other_ports(key, service)
        if service.unit is not None and service.unit.startswith(NODES_OWN):
            yield Problem(
                f"{key}.unit", service.unit, "it is a unit of the node itself",
                "name the unit of the service's own daemon, or remove it",
            )  # fmt: skip
        if service.kind == "whoami" and not sections.get("whoami", True):
            yield Problem(
                f"{key}.kind", "whoami", "mesh:whoami is false, so that no whoami runs",
                "remove mesh:whoami, or give the service another kind",
            )  # fmt: skip


def _missing(key: str, name: str, service: Service) -> Iterator[Problem]:
    needed = ["ports", "checks"] if service.kind in (None, "external") else []
    needed += ["content"] if service.kind in SERVED else []
    kind = f"a service of kind {service.kind}" if service.kind else "a service without a kind"
    for option in needed:
        if getattr(service, option) is None:
            cure = for_example("add it", "services", name, option)
            if option == "content" and service.kind == "dns":
                cure = "add it, for example content: zones"
            yield Problem(f"{key}.{option}", "unset", f"{kind} needs it", cure)


def _unused(key: str, service: Service) -> Iterator[Problem]:
    """Options of other kinds."""
    kind = service.kind or "unset"
    for option, kinds in (("content", SERVED), ("names", ("web",)), ("unit", ("external",))):
        value = getattr(service, option)
        if value is not None and service.kind not in kinds:
            yield Problem(
                f"{key}.{option}", value if isinstance(value, str) else ", ".join(value),
                f"it is for services of kind {' and '.join(kinds)}, and this one's kind is {kind}",
                f"remove it, or write kind: {kinds[0]}",
            )  # fmt: skip


def _other_ports(key: str, service: Service) -> Iterator[Problem]:
    """Ports at which a daemon that nodes set up does not listen."""
    own = PORTS.get(service.kind)
    if own is None or service.ports is None or service.kind is None:
        return
    for protocol in ("tcp", "udp"):
        given, wanted = getattr(service.ports, protocol), getattr(own, protocol)
        if set(given) != set(wanted):
            yield Problem(
                f"{key}.ports.{protocol}", str(list(given)), FIXED[service.kind],
                f"remove {key}.ports, or write kind: external and run a daemon of your own"
                + (" (for HTTPS as well)" if service.kind == "web" else ""),
            )  # fmt: skip
