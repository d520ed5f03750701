"""Debian's supervisor of the agent: systemd (sd_notify(3), without its library)."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from mesh.agent.host import Host

WITHDRAW = "anycast-mesh-withdraw"
"""The timer of the withdrawal, and its service."""
_NOT_LOADED = 5
"""Exit code of systemctl."""


@dataclass(frozen=True, slots=True)
class SystemdSupervisor:
    """systemd, as it supervises the agent of a node."""

    host: Host

    def started(self) -> None:
        """``READY=1``."""
        notify("READY=1")

    def beat(self) -> None:
        """Notifies systemd's watchdog."""
        notify("WATCHDOG=1")

    def works(self) -> bool:
        """Stops the timer of the withdrawal, and the withdrawal itself."""
        stop = ("systemctl", "stop", f"{WITHDRAW}.timer", f"{WITHDRAW}.service")
        # A unit that is not loaded has nothing to cancel.
        return self.host.run(*stop, timeout=10).code in (0, _NOT_LOADED)

    def stopping(self) -> None:
        """``STOPPING=1``."""
        notify("STOPPING=1")


def notify(state: str) -> None:
    """Sends a state such as ``READY=1``; does nothing without systemd."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return
