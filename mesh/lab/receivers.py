"""The receiver of alerts of a lab: started with the world, and read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.lab import namespaces, receiver
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import OPERATOR4, OPERATOR6

BOX = "operator"
PORT = 9099
KEPT = "alerts.jsonl"
"""What it was told, in the folder of its box."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert as Alertmanager tells it: ``status`` is ``firing`` or ``resolved``."""

    name: str
    status: str
    labels: dict[str, str]
    starts: str

    def of(self, *labels: str) -> tuple[str, ...]:
        """The values of these labels, empty where it has none."""
        return tuple(self.labels.get(label, "") for label in labels)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one receiver was told at once; ``at`` is seconds since the epoch."""

    at: float
    receiver: str
    alerts: tuple[Alert, ...]


def url(name: str) -> str:
    """Where a receiver of that name is in every lab."""
    return f"http://{OPERATOR4}:{PORT}/{name}"


def ensure(files: LabFiles) -> None:
    """Start it, unless it runs."""
    namespace = files.namespace(BOX)
    script = str(Path(receiver.__file__).resolve())
    running = namespaces.processes([namespace])[namespace]
    if any(script in namespaces.command_line(pid) for pid in running):
        return
    addresses = (str(OPERATOR4), str(OPERATOR6))
    command = [sys.executable, "-I", "-S", script, str(_kept(files)), str(PORT), *addresses]
    namespaces.spawn(command, files.box(BOX) / "receiver.log", namespace)


def deliveries(files: LabFiles, since: float = 0.0) -> tuple[Delivery, ...]:
    """What it was told since then, the oldest first."""
    return tuple(each for each in read(_kept(files)) if each.at >= since)


def read(kept: Path) -> Iterator[Delivery]:
    """What a receiver has kept in a file; what is no notification of Alertmanager is left out."""
    try:
        lines = kept.read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        yield from _read(line)


def _read(line: str) -> Iterator[Delivery]:
    try:
        kept = json.loads(line)
        alerts = tuple(map(_alert, kept["body"]["alerts"]))
        yield Delivery(float(kept["at"]), kept["path"].strip("/"), alerts)
    except (ValueError, KeyError, TypeError, AttributeError):
        return


def _alert(given: Any) -> Alert:
    labels = {str(key): str(value) for key, value in given["labels"].items()}
    return Alert(labels.get("alertname", ""), given["status"], labels, given["startsAt"])


def _kept(files: LabFiles) -> Path:
    return files.box(BOX) / KEPT
