"""The operating systems that the agent runs on: a module for each, and a line in the table.

Only that of this machine is imported. The modules import what needs no package of the node at once,
and all else when they are asked for a whole system: the withdrawal of a node needs Python alone.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Protocol, cast

from mesh.agent import file_paths
from mesh.agent.host import Host
from mesh.agent.network import Network
from mesh.agent.system import System
from mesh.bird.client import Bird


class _Module(Protocol):
    RUN_FOLDER: str
    UNPRIVILEGED: str | None

    def network(self, host: Host, bird: Bird) -> Network: ...

    def system(self, host: Host, bird: Bird) -> System: ...


_BY_KERNEL = {"Linux": "debian", "OpenBSD": "openbsd"}


def here() -> Host:
    """This machine."""
    return Host(run_folder=_module().RUN_FOLDER)


def unprivileged() -> str | None:
    """The user as whom a daemon goes on that needed root's rights for its port; None where the
    service manager starts it as another user."""
    return _module().UNPRIVILEGED


def bird_of(host: Host) -> Bird:
    """A node's BIRD."""
    return Bird(host.path(file_paths.BIRD_SOCKET))


def network(host: Host, bird: Bird) -> Network:
    """The network of a node that runs the system of this machine."""
    return _module().network(host, bird)


def of(host: Host) -> System:
    """The system of this machine, for a node."""
    return _module().system(host, bird_of(host))


def _module() -> _Module:
    return cast(_Module, import_module(f"{__name__}.{_BY_KERNEL[os.uname().sysname]}"))
