"""NSD of each service of kind ``dns``: `nsd-checkconf` first; a running one takes other zones while
it answers, and is restarted for all else."""

from __future__ import annotations

from functools import partial

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind
from mesh.agent.daemons.service_units import folder, reload_all, unit
from mesh.agent.stage import Stage

FOLDER = folder("dns")
_CHECK = "/usr/sbin/nsd-checkconf"


def _validate(stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            stage.must(_CHECK, change.path, reads="/etc/anycast-mesh")


def _apply_late(node: ChangedNode, changes: Changes) -> None:
    """A unit that has just started has read the file."""
    for change in changes:
        name = unit(change.path)
        if name not in node.units or name not in node.running:
            continue
        if _server(change.old) == _server(change.new):
            node.manager.reload_if_active(name)
        else:
            node.manager.restart(name)


def _server(content: bytes | None) -> bytes:
    """What NSD reads only when it starts: all but the zones."""
    return (content or b"").partition(b"\nzone:")[0]


KIND = DaemonKind(
    name="dns",
    patterns=(f"{FOLDER}/*.conf",),
    validate=_validate,
    apply_late=_apply_late,
    reread=partial(reload_all, kind="dns"),
)
