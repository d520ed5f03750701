"""Units that do not run although the generation in force names them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from mesh.agent.daemons.kind import ChangedNode, Difference
from mesh.agent.host import CommandFailed

PATIENCE = 3.0
"""Seconds: systemd restarts a failed unit after one, and a package upgrade restarts its units."""
STARTS = 10.0
"""Seconds. The service manager continues a longer start, and no generation waits for it."""


def not_running(node: ChangedNode) -> Iterator[Difference]:
    """The units that do not run."""
    for unit in node.units:
        if unit not in node.running:
            start = partial(_start, node, unit)
            yield Difference(f"unit {unit}", "does not run", start, PATIENCE)


def _start(node: ChangedNode, unit: str) -> None:
    node.manager.start([unit], STARTS)
    if unit not in node.manager.active([unit]):
        # For example, a condition of the unit does not hold: systemd reports no error for it.
        raise CommandFailed(f"{unit}: does not run after its start")
