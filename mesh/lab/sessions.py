"""A node's sessions at its upstream, shut down and taken again as a provider does."""

from __future__ import annotations

from mesh.lab import bird, routers
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import Uplink

SHUT = "withdraw"
"""The fault's name. It outlives the node's machine, and the next one ends it."""


def shut(place: LabFiles, uplink: Uplink) -> None:
    """Shut every session with a node down, and take no new one."""
    _each(place, uplink, "disable")


def admit(place: LabFiles, uplink: Uplink) -> None:
    """Take a node's sessions again."""
    _each(place, uplink, "enable")


def _each(place: LabFiles, uplink: Uplink, verb: str) -> None:
    if not uplink.sessions:
        raise LabError(
            f"node {uplink.node}: it has no session with an upstream, and announces nothing"
        )
    for session in uplink.sessions:
        name = routers.session_name(uplink.node, session.family)
        answer = bird.ask(place, uplink.upstream, f"{verb} {name}")
        if f"already {verb}d" not in answer and f": {verb}d" not in answer:
            raise LabError(f"{uplink.upstream}: {verb} {name}: {answer.strip()}")
