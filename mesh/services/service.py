"""A service and its ports, for the plan and for a node's agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from mesh.services.checks import Check
from mesh.services.checks.check import Port
from mesh.services.kinds import Kind as Kind


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports that the firewall opens for a service; at least one is needed."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    tcp: tuple[Port, ...] = ()
    """Open TCP ports."""
    udp: tuple[Port, ...] = ()
    """Open UDP ports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An anycast service; a node serves it while all its checks pass. ``kind`` is None where the
    stack file says none: whoami answers port 80, whatever is at others. ``unit`` is the systemd
    unit of an external service, whose state is shown."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    name: str
    ports: Ports
    checks: tuple[Check, ...]
    kind: Kind | None = None
    unit: str | None = None
