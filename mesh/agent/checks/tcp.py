"""A service that accepts connections."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from mesh.agent.checks.why import why
from mesh.agent.config import Check


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """Healthy where a connection to this machine's own port comes up in time."""

    check: Check

    def problem(self) -> str:
        """Connects, and hangs up; why that fails."""
        try:
            socket.create_connection(("127.0.0.1", self.check.port), self.check.timeout).close()
        except OSError as error:
            return why(error, self.check.timeout)
        return ""
