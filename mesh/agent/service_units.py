"""States of the systemd units that the operator names for external services."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mesh.agent.config import Config
from mesh.agent.host import Host

LOOK = 10.0
"""Seconds between two looks: each starts a process."""
PATIENCE = 3.0
"""Seconds for one look."""


class ServiceUnits:
    """Looks at units, and never starts or stops one."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._units: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._looked = -LOOK

    def watch(self, config: Config) -> None:
        """Uses the services of this configuration from now on."""
        self._units = {one.name: one.unit for one in config.services if one.local and one.unit}
        self._looked = -LOOK

    def states(self) -> Mapping[str, str]:
        """The state of each service's unit, by the service's name: ``active``, ``failed``."""
        units, now = self._units, time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._states = self._look(units) if units else {}
        return self._states

    def _look(self, units: Mapping[str, str]) -> dict[str, str]:
        shown = self._host.run(
            "systemctl", "show", "--property=LoadState,ActiveState", "--", *units.values(),
            timeout=PATIENCE,
        )  # fmt: skip
        found = shown.out.strip().split("\n\n")
        if shown.code != 0 or len(found) != len(units):
            return {}
        return {service: state(text) for service, text in zip(units, found, strict=True)}


def state(properties: str) -> str:
    """The state of a unit, by what ``systemctl show`` prints of it."""
    lines = dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)
    loaded = lines.get("LoadState", "")
    return lines.get("ActiveState", "unknown") if loaded == "loaded" else loaded or "unknown"
