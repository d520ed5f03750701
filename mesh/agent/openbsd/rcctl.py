"""Units of a node, managed by rcctl(8) and the scripts of rc.d(8)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.agent.host import CommandFailed, Host
from mesh.agent.units import START

SCRIPTS = "/etc/rc.d"
_SHORT = 30.0
"""Seconds for commands that wait for no daemon."""
_LONGEST = 400
"""How much is reported of what a daemon that does not start says."""
_STEPS = re.compile(r"doing |\w+_flags |\w+\((?:ok|failed|timeout|killed)\)$")
"""Lines of rc.subr(8) itself, which says with ``-d`` what it does."""


@dataclass(frozen=True, slots=True)
class Rcctl:
    """rcctl on a node. Its exit code says little: of a daemon that ends at once, a start is ``ok``
    (rc.subr(8) does not look again). So each change is followed by a look at what runs."""

    host: Host

    def reload(self) -> None:
        """Nothing: scripts are read when they are run."""

    def has_file(self, unit: str) -> bool:
        """Whether the script of a unit is in place."""
        return self.host.path(f"{SCRIPTS}/{unit}").exists()

    def reads(self, path: str) -> bool:
        """Whether a file is one of rc.d(8)."""
        return path.startswith(f"{SCRIPTS}/")

    def active(self, units: Sequence[str]) -> frozenset[str]:
        """The units that run. Each is asked for alone: where one of several does not exist, rcctl
        says nothing of the others."""
        return frozenset(unit for unit in units if self._runs(unit))

    def _runs(self, unit: str) -> bool:
        done = self.host.run("rcctl", "check", unit, timeout=_SHORT)
        return done.code == 0 and f"{unit}(ok)" in done.out

    def start(self, units: Sequence[str], seconds: float = START) -> None:
        """Enables units, and starts those that do not run, in this order."""
        for unit in units:
            self.host.must("rcctl", "enable", unit, timeout=_SHORT)
        for unit in units:
            self._start(unit, seconds)

    def _start(self, unit: str, seconds: float) -> None:
        # Of one that runs nothing is said.
        self.host.run("rcctl", "start", unit, timeout=seconds)
        if self._runs(unit):
            return
        # Only then is its own output shown.
        again = self.host.run("rcctl", "-d", "start", unit, timeout=seconds)
        if not self._runs(unit):
            raise CommandFailed(f"{unit}: does not start: {_said(again.out + again.err)}")

    def stop(self, units: Sequence[str]) -> None:
        """Disables units and stops them, the last one first."""
        for unit in reversed(units):
            self.host.must("rcctl", "disable", unit, timeout=_SHORT)
            if self.has_file(unit):
                done = self.host.run("rcctl", "stop", unit, timeout=START)
                if self._runs(unit):
                    raise CommandFailed(f"{unit}: does not stop: {done.why()}")

    def mark(self, on: Sequence[str], off: Sequence[str]) -> None:
        """Enables and disables."""
        for verb, units in (("disable", off), ("enable", on)):
            for unit in units:
                self.host.must("rcctl", verb, unit, timeout=_SHORT)

    def restart(self, unit: str) -> None:
        """Stops and starts one unit."""
        self.host.run("rcctl", "stop", unit, timeout=START)
        self._start(unit, START)

    def reload_if_active(self, unit: str) -> None:
        """Starts a running daemon anew: it may have given up the rights that it needs to follow its
        configuration."""
        if self._runs(unit):
            self.restart(unit)


def _said(output: str) -> str:
    """What a daemon has said, of the output of a start with ``-d``."""
    lines = [line.strip() for line in output.splitlines()]
    own = [line for line in lines if line and not _STEPS.match(line)]
    return "; ".join(dict.fromkeys(own))[-_LONGEST:] or "it says nothing"
