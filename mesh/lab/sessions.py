"""Disable and enable a node's sessions at its upstream, as a provider does."""

from __future__ import annotations

from mesh.lab import bird, routers
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import Uplink

SHUT = "withdraw"
"""The fault's name. It stays when the node's machine is removed; the next machine ends it."""


def shut(files: LabFiles, uplink: Uplink) -> None:
    """Disable every session with a node."""
    _each(files, uplink, "disable")


def admit(files: LabFiles, uplink: Uplink) -> None:
    """Enable a node's sessions."""
    _each(files, uplink, "enable")


def _each(files: LabFiles, uplink: Uplink, verb: str) -> None:
    if not uplink.sessions:
        raise LabError(f"node {uplink.node}: it has no upstream session, and announces nothing")
    for session in uplink.sessions:
        name = routers.session_name(uplink.node, session.family)
        answer = bird.ask(files, uplink.upstream, f"{verb} {name}")
        if f"already {verb}d" not in answer and f": {verb}d" not in answer:
            raise LabError(f"{uplink.upstream}: {verb} {name}: {answer.strip()}")
