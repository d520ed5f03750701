"""Scripts of rc.d(8), and login classes of their daemons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind, Difference
from mesh.agent.daemons.unit_states import not_running
from mesh.agent.host import CommandFailed
from mesh.agent.openbsd.rcctl import SCRIPTS
from mesh.agent.stage import Stage

_CLASSES = "/etc/login.conf.d"
_LEFT_RUNNING = ("anycast_mesh_bird",)
"""A restart would end every session: what has changed takes effect at the next start."""


def _validate(stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is not None and change.path.startswith(f"{SCRIPTS}/"):
            done = stage.host.run("ksh", "-n", stage.path(change.path))
            if done.code != 0:
                raise CommandFailed(f"{change.path}: ksh refuses: {done.why()}")


def _apply_late(node: ChangedNode, changes: Changes) -> None:
    changed = {PurePosixPath(change.path).name for change in changes}
    for unit in node.units:
        if unit in node.running and unit in changed and unit not in _LEFT_RUNNING:
            node.manager.restart(unit)


def _differences(node: ChangedNode, _: Sequence[str]) -> Iterator[Difference]:
    yield from not_running(node)


KIND = DaemonKind(
    name="rc.d",
    patterns=(f"{SCRIPTS}/anycast_mesh_*", f"{_CLASSES}/anycast_mesh_*"),
    validate=_validate,
    apply_late=_apply_late,
    differences=_differences,
)
