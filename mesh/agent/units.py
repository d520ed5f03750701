"""Units of a node, managed by systemd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mesh.agent.host import CommandFailed, Host

START = 90.0
"""Seconds within which units have to start."""
_LINES, _LONGEST = 3, 400
"""How much is reported of what a unit that does not start says."""


class Units(Protocol):
    """What the agent asks of a service manager."""

    def reload(self) -> None:
        """Reads unit files again."""
        ...

    def reads(self, path: str) -> bool:
        """Whether a file is one of those that :meth:`reload` reads."""
        ...

    def has_file(self, unit: str) -> bool:
        """Whether the file of a unit of ours is in place."""
        ...

    def active(self, units: Sequence[str]) -> frozenset[str]:
        """The units that run."""
        ...

    def mark(self, on: Sequence[str], off: Sequence[str]) -> None:
        """Says which units start at a boot and which do not; starts and stops none."""
        ...

    def start(self, units: Sequence[str], seconds: float = START) -> None:
        """Enables and starts units, and waits until they run. A failed one is started once more.
        Raises CommandFailed if one does not run in time."""
        ...

    def stop(self, units: Sequence[str]) -> None:
        """Stops and disables."""
        ...

    def restart(self, unit: str) -> None:
        """Stops and starts one unit."""
        ...

    def reload_if_active(self, unit: str) -> None:
        """Makes a running daemon read its configuration again."""
        ...


@dataclass(frozen=True, slots=True)
class Systemd:
    """systemd on a node."""

    host: Host

    def reload(self) -> None:
        """``daemon-reload``."""
        self.host.must("systemctl", "daemon-reload")

    def reads(self, path: str) -> bool:
        """Whether a file is a unit's."""
        return path.startswith("/etc/systemd/")

    def has_file(self, unit: str) -> bool:
        """Whether a unit's file, or its template's, is in place."""
        name = f"{unit.partition('@')[0]}@.service" if "@" in unit else unit
        return self.host.path(f"/etc/systemd/system/{name}").exists()

    def mark(self, on: Sequence[str], off: Sequence[str]) -> None:
        """``enable`` and ``disable``, of units whose files need not be loaded yet."""
        for verb, units in (("disable", off), ("enable", on)):
            if units:
                self.host.run("systemctl", "-q", "--no-reload", verb, *units)

    def active(self, units: Sequence[str]) -> frozenset[str]:
        """The units that are active."""
        if not units:
            return frozenset()
        # The exit code is 3 if one is not active; the output has the state of each.
        states = self.host.run("systemctl", "is-active", *units).out.split()
        return frozenset(u for u, state in zip(units, states, strict=False) if state == "active")

    def start(self, units: Sequence[str], seconds: float = START) -> None:
        """``enable --now``. A unit that fails is started once more on its own: the error of a start
        of several units gives no reason."""
        if not units:
            return
        # Unit files are loaded already; enabling matters at the next boot.
        self.host.must("systemctl", "-q", "--no-reload", "enable", *units)
        if self.host.run("systemctl", "start", *units, timeout=seconds).code != 0:
            for unit in sorted(set(units) - self.active(units)):
                again = self.host.run("systemctl", "start", unit, timeout=seconds)
                if again.code != 0:
                    raise CommandFailed(f"{unit}: {self.said(unit) or again.why()}")

    def said(self, unit: str) -> str:
        """The last lines of a unit's own processes in the journal; empty for none."""
        asked = ("journalctl", "-q", "--no-pager", "-b", "-o", "cat", "-n", str(_LINES))
        done = self.host.run(*asked, f"_SYSTEMD_UNIT={unit}", timeout=10)
        lines = [line.strip() for line in done.out.splitlines() if line.strip()]
        return "" if done.code else "; ".join(dict.fromkeys(lines))[-_LONGEST:]

    def stop(self, units: Sequence[str]) -> None:
        """``disable --now``."""
        if units:
            self.host.must("systemctl", "-q", "disable", "--now", *units, timeout=90)

    def restart(self, unit: str) -> None:
        """``restart``."""
        self.host.must("systemctl", "restart", unit, timeout=90)

    def reload_if_active(self, unit: str) -> None:
        """``reload``, if it runs."""
        if self.active([unit]):
            self.host.must("systemctl", "reload", unit)
