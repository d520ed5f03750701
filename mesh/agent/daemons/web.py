"""nginx of each service of kind ``web``: `nginx -t` before; a running one is reloaded, and goes on
with the requests that it has."""

from __future__ import annotations

from functools import partial
from pathlib import PurePosixPath

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind
from mesh.agent.daemons.service_units import folder, reload_all, unit
from mesh.agent.stage import Stage

FOLDER = folder("web")
# nginx binds the addresses and makes its folders for this as well: in a network and a /run of its
# own, where every address can be bound and nothing is left behind.
_TEST = """
mount -t tmpfs tmpfs /run
mkdir -p "/run/anycast-mesh/web/$1"
for family in 4 6; do
	file=/proc/sys/net/ipv$family/ip_nonlocal_bind
	if [ -e $file ]; then echo 1 > $file; fi
done
exec /usr/sbin/nginx -e stderr -t -q -c "$2"
"""
ALONE = ("unshare", "--net", "--mount", "--", "sh", "-ec", _TEST, "sh")
"""Tests the configuration of a service, by its name and its file."""


def _validate(stage: Stage, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            service = PurePosixPath(change.path).stem
            stage.must(*ALONE, service, change.path, reads="/etc/anycast-mesh", called="nginx")


def _apply_late(node: ChangedNode, changes: Changes) -> None:
    """Once the addresses are there. A unit that has just started has read the file."""
    for change in changes:
        if unit(change.path) in node.units and unit(change.path) in node.running:
            node.manager.reload_if_active(unit(change.path))


KIND = DaemonKind(
    name="web",
    patterns=(f"{FOLDER}/*.conf",),
    validate=_validate,
    apply_late=_apply_late,
    reread=partial(reload_all, kind="web"),
)
