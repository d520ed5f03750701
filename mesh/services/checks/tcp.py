"""Health check: a TCP connection to a local port."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints

from mesh.services.checks.check import HealthCheck, Port, why


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(HealthCheck):
    """Healthy if a TCP connection to this machine's port is established in time."""

    kind: Literal["tcp"] = "tcp"
    """Good where a connection to 127.0.0.1 comes up."""
    port: Port
    """TCP port that is asked."""
    # Not used; stack files may have it, and agent.json on every node has it.
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=200)] = "/"
    """A path, which is not used."""

    @property
    def subject(self) -> str:
        """The kind and the port."""
        return f"{self.kind} port {self.port}"

    def problem(self) -> str:
        """Connects and disconnects; why that fails."""
        try:
            socket.create_connection(("127.0.0.1", self.port), self.timeout).close()
        except OSError as error:
            return why(error, self.timeout)
        return ""
