"""Prometheus and Alertmanager: `promtool` and `amtool` first; running ones read their files again,
and go on with what they know. A receiver's secret is read whenever it is used."""

from __future__ import annotations

from mesh.agent.daemons.kind import ChangedNode, Changes, DaemonKind
from mesh.agent.stage import Stage

FOLDER = "/etc/anycast-mesh/monitoring"
PROMETHEUS, ALERTMANAGER = "anycast-mesh-prometheus.service", "anycast-mesh-alertmanager.service"
_CONFIG = {
    PROMETHEUS: f"{FOLDER}/prometheus.yml",
    ALERTMANAGER: f"{FOLDER}/alertmanager.yml",
}
_READS = {
    f"{FOLDER}/prometheus.yml": PROMETHEUS,
    f"{FOLDER}/rules.yml": PROMETHEUS,
    f"{FOLDER}/alertmanager.yml": ALERTMANAGER,
}
"""The unit that reads a file when it starts or is told to."""
_CHECK = {
    PROMETHEUS: ("/usr/bin/promtool", "check", "config"),
    ALERTMANAGER: ("/usr/bin/amtool", "check-config"),
}


def _validate(stage: Stage, changes: Changes) -> None:
    """Each configuration once, with all files that belong to it."""
    for unit in _concerned(changes):
        stage.must(*_CHECK[unit], _CONFIG[unit], reads="/etc/anycast-mesh", called=_CHECK[unit][0])


def _apply_late(node: ChangedNode, changes: Changes) -> None:
    """A unit that has just started has read its files."""
    for unit in _concerned(changes):
        if unit in node.units and unit in node.running:
            node.manager.reload_if_active(unit)


def _concerned(changes: Changes) -> list[str]:
    """The units that read one of these files and keep it."""
    kept = {change.path for change in changes if change.new is not None}
    return sorted({unit for path, unit in _READS.items() if path in kept})


def _reread(node: ChangedNode) -> None:
    for unit in (PROMETHEUS, ALERTMANAGER):
        if unit in node.units:
            node.manager.reload_if_active(unit)


KIND = DaemonKind(
    name="monitoring",
    patterns=(
        f"{FOLDER}/prometheus.yml",
        f"{FOLDER}/rules.yml",
        f"{FOLDER}/alertmanager.yml",
        f"{FOLDER}/receivers/*",
    ),
    validate=_validate,
    apply_late=_apply_late,
    reread=_reread,
)
