"""Health check: a TCP connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints

from mesh.services.checks.check import HealthCheck, Port, Target, why
from mesh.services.checks.connection import Deadline, connected


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(HealthCheck):
    """Healthy if a TCP connection to the service is established in time."""

    kind: Literal["tcp"] = "tcp"
    """Good where a TCP connection comes up."""
    port: Port
    """The port that is asked."""
    # Not used; stack files may have it, and agent.json on every node has it.
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=200)] = "/"
    """A path, which is not used."""

    @property
    def subject(self) -> str:
        """The kind and the port."""
        return f"{self.kind} port {self.port}"

    @property
    def watched_port(self) -> int:
        """The port that is asked."""
        return self.port

    def problem(self, target: Target) -> str:
        """Connects and disconnects; why that fails."""
        try:
            connected(target, self.port, Deadline(self.within)).close()
        except OSError as error:
            return why(error, self.within)
        return ""
