"""What a twin's receivers are told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mesh.lab.lab_files import LabFiles
from mesh.lab.receivers import Delivery, deliveries
from tests.monitoring.cases import Ring

BOX, DEADMAN = "box", "deadman"
"""The receivers: of all alerts that somebody is told of, and of the one that always fires."""
WATCHDOG = "MeshWatchdog"


@dataclass(frozen=True, slots=True)
class Rung:
    """What the receiver of alerts has been told: when each first rang, and which ring still."""

    first: dict[Ring, float]
    ringing: frozenset[Ring]


def rung(told: Iterable[Delivery]) -> Rung:
    """What these notifications say, the oldest first. An alert of one name and node may be several
    (of two sessions): it rings as long as one of them does."""
    first: dict[Ring, float] = {}
    firing: dict[tuple[tuple[str, str], ...], Ring] = {}
    for each in told:
        if each.receiver != BOX:
            continue
        for alert in each.alerts:
            ring = (alert.name, alert.labels.get("node", ""))
            labels = tuple(sorted(alert.labels.items()))
            if alert.status == "firing":
                first.setdefault(ring, each.at)
                firing[labels] = ring
            else:
                firing.pop(labels, None)
    return Rung(first, frozenset(firing.values()))


def since(files: LabFiles, moment: float) -> Rung:
    """What it has been told since a moment (seconds since the epoch)."""
    return rung(deliveries(files, moment))


def beats(files: LabFiles, moment: float) -> list[float]:
    """When the dead man's switch was told that alerts are delivered, since a moment."""
    told = (each for each in deliveries(files, moment) if each.receiver == DEADMAN)
    return [each.at for each in told if any(alert.name == WATCHDOG for alert in each.alerts)]
