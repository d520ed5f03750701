"""The units of services' daemons: one for each service, ``anycast-mesh-<kind>@<service>.service``,
with a configuration of its own."""

from __future__ import annotations

from pathlib import PurePosixPath

from mesh.agent.daemons.kind import ChangedNode


def folder(kind: str) -> str:
    """Where the configurations of a kind lie, each ``<service>.conf``."""
    return f"/etc/anycast-mesh/{kind}"


def unit(path: str) -> str:
    """The unit that reads a configuration."""
    place = PurePosixPath(path)
    return f"anycast-mesh-{place.parent.name}@{place.stem}.service"


def reload_all(node: ChangedNode, kind: str) -> None:
    """Has the daemons of a kind read restored files."""
    for each in node.units:
        if each.startswith(f"anycast-mesh-{kind}@"):
            node.manager.reload_if_active(each)
