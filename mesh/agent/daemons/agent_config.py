"""The agent's own configuration: parsed before, and read by the agent after the change."""

from __future__ import annotations

from mesh.agent import file_paths
from mesh.agent.config import Config
from mesh.agent.daemons.kind import Changes, DaemonKind
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage
from mesh.trust.encoding import Malformed, parse


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        try:
            parse(Config, change.new or b"")
        except Malformed as error:
            raise CommandFailed(f"{change.path}: {error}") from None


KIND = DaemonKind(name="agent", patterns=(file_paths.CONFIG,), validate=_validate)
