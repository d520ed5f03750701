"""What each operating system's nodes get beside BIRD's configuration: a file here, and a line in
:data:`SYSTEMS`."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.operating_systems import OperatingSystem
from mesh.plan import Node
from mesh.render.systems.debian import Debian
from mesh.render.systems.openbsd import OpenBsd
from mesh.render.systems.system import Names, System, Template, fixed

SYSTEMS: Mapping[OperatingSystem, System] = {
    OperatingSystem.DEBIAN: Debian(),
    OperatingSystem.OPENBSD: OpenBsd(),
}


def system_of(node: Node) -> System:
    """What a node runs."""
    return SYSTEMS[node.os]


__all__ = ["SYSTEMS", "Names", "System", "Template", "fixed", "system_of"]
