"""Kernel settings: each line is of the right form, and each is set, or the change is undone."""

from __future__ import annotations

import re

from mesh.agent.daemons.kind import Changes, Kind, Node
from mesh.agent.host import CommandFailed
from mesh.agent.stage import Stage

_LINE = re.compile(r"-?[a-z][A-Za-z0-9_./*-]*[ \t]*=[ \t]*[A-Za-z0-9_ .-]+")


def _validate(_: Stage, changes: Changes) -> None:
    for change in changes:
        for number, line in enumerate((change.new or b"").decode().splitlines(), 1):
            text = line.strip()
            if text and text[0] not in "#;" and _LINE.fullmatch(text) is None:
                raise CommandFailed(f"{change.path}:{number}: not a kernel setting")


def _apply(node: Node, changes: Changes) -> None:
    for change in changes:
        if change.new is not None:
            node.host.must("sysctl", "-q", "-p", change.path)
        else:
            # What the removed file had set falls back to what the others say. A line of theirs
            # that this kernel or container refuses is no failure of ours.
            node.host.run("sysctl", "-q", "--system")


KIND = Kind(
    name="sysctl",
    patterns=("/etc/sysctl.d/*anycast-mesh.conf",),
    validate=_validate,
    apply=_apply,
)
