"""A service that accepts connections."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from mesh.agent.config import Check


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Healthy where a connection to this machine's own port comes up in time."""

    check: Check

    def is_healthy(self) -> bool:
        """Connects, and hangs up."""
        try:
            socket.create_connection(("127.0.0.1", self.check.port), self.check.timeout).close()
        except OSError:
            return False
        return True
