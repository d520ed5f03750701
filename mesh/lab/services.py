"""Services with daemons of their own, as the lab knows them: what probes ask them, what plays them.

A service that is answered by whoami is none of them: whoami is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mesh.lab import dns
from mesh.plan.model import Address, Plan, PlannedService
from mesh.services.checks import Check
from mesh.services.checks.dns import DnsCheck
from mesh.services.checks.dns_message import TYPES
from mesh.services.checks.exec import ExecCheck
from mesh.services.service import Kind, Ports

DOWN = "service-down"
"""The fault by which services end."""

Protocol = Literal["http", "dns", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabService:
    """A service of kind ``external``, ``web`` or ``dns``; ``zones`` are those of its content, and
    ``checks`` those of an external one, which its stand-in passes."""

    name: str
    kind: Kind
    addresses: tuple[Address, ...]
    nodes: tuple[str, ...]
    ports: Ports
    checks: tuple[Check, ...] = ()
    unit: str | None = None
    zones: tuple[str, ...] = ()

    @property
    def daemon(self) -> str:
        """The unit that answers at its addresses: an external one's stand-in, by the name of its
        own unit where it has one."""
        if self.unit is not None:
            return self.unit
        part = "lab-standin" if self.kind == "external" else self.kind
        return f"anycast-mesh-{part}@{self.name}.service"

    @property
    def speaks(self) -> Protocol | None:
        """The protocol in which it is asked who answers; None where it has only its own over
        UDP."""
        if self.kind != "external":
            return "dns" if self.kind == "dns" else "http"
        if 80 in self.ports.tcp or self._checked("http"):
            return "http"
        return "dns" if self._checked("dns") else "tcp" if self.ports.tcp else None

    def port(self, protocol: Protocol) -> int | None:
        """The port of a protocol, where it has a usual or checked one."""
        if protocol == "tcp":
            return next(iter(self.ports.tcp), None)
        return self._checked(protocol)

    def dns_question(self) -> dns.Question | None:
        """What its first zone is asked for, or what its first check by DNS asks; None where it has
        neither."""
        if self.zones:
            return dns.Question(self.zones[0], TYPES["SOA"])
        for check in self.checks:
            if isinstance(check, DnsCheck):
                return dns.Question(check.name.rstrip(".").lower(), TYPES[check.type])
        return None

    def _checked(self, kind: str) -> int | None:
        for check in self.checks:
            if not isinstance(check, ExecCheck) and check.kind == kind:
                return check.port
        return None


def services_of(plan: Plan) -> tuple[LabService, ...]:
    """The services of a plan that whoami does not answer."""
    return tuple(
        _service(each, each.kind)
        for each in plan.services
        if each.kind is not None and each.kind != "whoami"
    )


def _service(planned: PlannedService, kind: Kind) -> LabService:
    content = planned.content
    return LabService(
        name=planned.name,
        kind=kind,
        addresses=planned.addresses.both(),
        nodes=planned.nodes,
        ports=planned.ports,
        checks=planned.checks if kind == "external" else (),
        unit=planned.unit,
        zones=tuple(zone.name for zone in content.zones) if content else (),
    )
