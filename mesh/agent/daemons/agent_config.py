"""The agent's own configuration: parsed before, and read by the agent after the change. Whoami has
its addresses from it."""

from __future__ import annotations

from functools import partial

from mesh.agent import file_paths
from mesh.agent.config import Config
from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage
from mesh.trust.encoding import Malformed, parse

WHOAMI = "anycast-mesh-whoami.service"


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        try:
            parse(Config, change.new or b"")
        except Malformed as error:
            raise CommandFailed(f"{change.path}: {error}") from None


def _apply(whoami: str, node: ChangedNode, changes: Changes) -> None:
    """Before new units start, which may want a port that whoami has until now."""
    for change in changes:
        if _whoami_at(change.old) != _whoami_at(change.new):
            node.manager.reload_if_active(whoami)


def _whoami_at(content: bytes | None) -> object:
    try:
        return parse(Config, content or b"").whoami_at
    except Malformed:
        return None  # Of an earlier version: at all addresses.


def kind(whoami: str) -> DaemonKind:
    """The agent's configuration, of which this unit of whoami has its addresses."""
    return DaemonKind(
        name="agent",
        patterns=(file_paths.CONFIG,),
        validate=_validate,
        apply=partial(_apply, whoami),
    )


KIND = kind(WHOAMI)
