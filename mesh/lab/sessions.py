"""Disable and enable a node's sessions at its upstream, as a provider does."""

from __future__ import annotations

from mesh.lab import bgpd, bird, routers
from mesh.lab.errors import LabError
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import Uplink, World
from mesh.plan.model import UpstreamSession

SHUT = "withdraw"
"""The fault's name. It stays when the node's machine is removed; the next machine ends it."""


def shut(files: LabFiles, world: World, uplink: Uplink) -> None:
    """Disable every session with a node."""
    _each(files, world, uplink, "disable")


def admit(files: LabFiles, world: World, uplink: Uplink) -> None:
    """Enable a node's sessions."""
    _each(files, world, uplink, "enable")


def _each(files: LabFiles, world: World, uplink: Uplink, verb: str) -> None:
    ends = [(uplink.upstream, session) for session in uplink.sessions]
    for neighbor in world.neighbors:
        if neighbor.node == uplink.node:
            ends += [(neighbor.box, session) for session in neighbor.sessions]
    if not ends:
        raise LabError(f"node {uplink.node}: it has no upstream session, and announces nothing")
    for box, session in ends:
        if routers.speaks_openbgpd(session) and bgpd.speaks(files, box):
            _at_openbgpd(files, box, uplink.node, session, verb)
            continue
        name = routers.session_name(uplink.node, session.family, session.label)
        answer = bird.ask(files, box, f"{verb} {name}")
        if f"already {verb}d" not in answer and f": {verb}d" not in answer:
            raise LabError(f"{box}: {verb} {name}: {answer.strip()}")


def _at_openbgpd(files: LabFiles, box: str, node: str, session: UpstreamSession, verb: str) -> None:
    name = routers.session_name(node, session.family, session.label)
    bgpd.ask(files, box, "neighbor", name, "down" if verb == "disable" else "up")
