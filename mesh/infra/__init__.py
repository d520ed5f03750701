"""From plan to cloud: Pulumi components, a driver per provider, and the resources of our own.

A program imports ``Mesh``, ``MeshArgs``, ``configured`` and ``said_once`` from here. They are
loaded when they are asked for: the process that runs our dynamic resources comes through here as
well, and pays for every import at every preview.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.infra.configuration import configured, said_once
    from mesh.infra.mesh import Mesh, MeshArgs

__all__ = ["Mesh", "MeshArgs", "configured", "said_once"]

_WHERE = {
    "Mesh": "mesh.infra.mesh",
    "MeshArgs": "mesh.infra.mesh",
    "configured": "mesh.infra.configuration",
    "said_once": "mesh.infra.configuration",
}


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
