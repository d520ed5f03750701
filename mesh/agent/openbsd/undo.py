"""Who undoes a change that nobody has confirmed where the agent does not: a process that sleeps."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from mesh.agent import file_paths
from mesh.agent.host import Host

PYTHON = "/usr/local/bin/python3"
_BOOT = "/run/anycast-mesh/boot"
_LATER = '(exec </dev/null >/dev/null 2>&1; sleep "$1"; exec "$2" "$3" undo) &'
"""It goes on when the agent ends. Its arguments are seconds, Python and the bundle. Redirected from
outside, ksh(1) would keep our pipe open in the subshell, and we would wait for its end."""


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A process in the background for each timer. It does not survive a boot, and needs not: the
    agent undoes then what still waits, when it starts."""

    host: Host

    def prepare(self) -> None:
        """Nothing: the agent is started at each boot."""

    def arm(self, seconds: float) -> None:
        """Starts a process."""
        given = (f"{seconds:.1f}", PYTHON, file_paths.BUNDLE)
        self.host.must("sh", "-c", _LATER, "sh", *given)

    def end(self) -> None:
        """Nothing: those that still sleep find nothing to undo."""

    def boot(self) -> str:
        """A name that is made at the first question after a boot, in the folder that each boot
        empties. ``kern.boottime`` would change where the clock is set."""
        content = self.host.read(_BOOT)
        if content is None:
            content = secrets.token_hex(8).encode()
            self.host.write(_BOOT, content, 0o600)
        return content.decode("utf-8", "replace")

    def clock(self) -> int:
        """The monotonic clock, which begins at the boot."""
        return time.monotonic_ns() // 1000
