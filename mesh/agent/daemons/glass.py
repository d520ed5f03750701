"""The looking glass's view of the network: parsed before, and read by its server at its start."""

from __future__ import annotations

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage
from mesh.glass.network import PATH, Network
from mesh.trust.encoding import Malformed, parse

UNIT = "anycast-mesh-glass.service"


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is None:
            continue
        try:
            parse(Network, change.new)
        except Malformed as error:
            raise CommandFailed(f"{change.path}: {error}") from None


def _apply_late(node: ChangedNode, _: Changes) -> None:
    """A restart: no question goes on for longer than it takes, and nothing has to be kept."""
    if UNIT in node.units and UNIT in node.running:
        node.manager.restart(UNIT)


def _reread(node: ChangedNode) -> None:
    if UNIT in node.units and node.manager.active([UNIT]):
        node.manager.restart(UNIT)


KIND = DaemonKind(
    name="glass",
    patterns=(PATH,),
    validate=_validate,
    apply_late=_apply_late,
    reread=_reread,
)
