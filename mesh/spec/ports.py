"""Ports at which nodes listen themselves. None may be a service's, which is open to everybody at
every announced address."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mesh.spec.model import Monitoring, Registry, Rpki, Tunnels
from mesh.spec.section import Sections

SSH, BGP, BFD_SINGLE_HOP, BFD_MULTIHOP = 22, 179, 3784, 4784
RTR = 3323
"""Port of our own validators: IANA's 323 would need an additional privilege."""

PROMETHEUS, ALERTMANAGER = 9090, 9093
"""Ports of both at the loopback address of a node of ``mesh:monitoring``."""
ALERTMANAGERS = 9094
"""Port at which several Alertmanagers tell each other what they have sent, at tunnel addresses."""


@dataclass(frozen=True, slots=True)
class Listener:
    """What listens at nodes, and at which ports: from ``first`` to ``last``."""

    what: str
    protocol: Literal["tcp", "udp"]
    first: int
    last: int


def listeners(sections: Sections) -> Iterator[Listener]:
    """What listens at nodes of a stack file, as far as that could be parsed."""
    nodes = sections.get("nodes") or {}
    tunnels: Tunnels | None = sections.get("tunnels")
    registry: Registry | None = sections.get("registry")
    rpki: Rpki | None = sections.get("rpki")
    monitoring: Monitoring | None = sections.get("monitoring")
    others = {node.host.ssh.port for node in nodes.values() if node.host is not None}
    for port in sorted({SSH, *others}):
        yield Listener("SSH", "tcp", port, port)
    yield Listener("BGP", "tcp", BGP, BGP)
    for port in (BFD_SINGLE_HOP, BFD_MULTIHOP):
        yield Listener("BFD", "udp", port, port)
    if registry is not None:
        yield Listener("the registry", "tcp", registry.port, registry.port)
    if tunnels is not None:
        last = tunnels.port + max((node.number for node in nodes.values()), default=1) - 1
        yield Listener("WireGuard", "udp", tunnels.port, last)
    if rpki is not None and rpki.local:
        yield Listener("the network's own validators", "tcp", RTR, RTR)
    if monitoring is not None:
        yield Listener("Prometheus", "tcp", PROMETHEUS, PROMETHEUS)
        yield Listener("Alertmanager", "tcp", ALERTMANAGER, ALERTMANAGERS)
        yield Listener("Alertmanager", "udp", ALERTMANAGERS, ALERTMANAGERS)
