"""From plan to cloud: Pulumi components, a driver per provider, and the resources of our own.

A program imports ``Mesh``, ``MeshArgs``, ``configured`` and ``said_once`` from here. They are
loaded when they are asked for: the process that runs our dynamic resources comes through here as
well, and pays for every import at every preview.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
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


# No plugin of pydantic is used, and to find them it reads the metadata of every installed package.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _uncollected():
        return getattr(import_module(_WHERE[name]), name)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Leave what is imported out of garbage collection: it stays until the process ends."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
