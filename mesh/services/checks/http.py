"""Health check: an HTTP request to a local port."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import StringConstraints

from mesh.services.checks.check import HealthCheck, Port, why

_LINE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(HealthCheck):
    """Healthy if ``GET path`` on this machine is answered with a 2xx status in time.

    Only the status line is read, and one deadline holds for all of it.
    """

    kind: Literal["http"] = "http"
    """Good where ``GET`` of ``path`` on 127.0.0.1 is answered with a status of 200 to 299."""
    port: Port
    """TCP port that is asked."""
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=200)] = "/"
    """Path that ``http`` asks for."""

    @property
    def subject(self) -> str:
        """The kind and the port."""
        return f"{self.kind} port {self.port}"

    def problem(self) -> str:
        """Sends one request; why the answer is not good."""
        deadline = time.monotonic() + self.timeout
        request = f"GET {self.path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), self.timeout) as connection:
                connection.sendall(request)
                line = _status_line(connection, deadline)
        except OSError as error:
            return why(error, self.timeout)
        fields = line.split(b" ")
        if len(fields) < 2 or not fields[0].startswith(b"HTTP/"):
            return "the answer is not HTTP" if line else "closed without an answer"
        status = line.partition(b" ")[2].decode("ascii", "replace").strip()
        return "" if fields[1][:1] == b"2" else f"answers {status[:60]}"


def _status_line(connection: socket.socket, deadline: float) -> bytes:
    line = b""
    while b"\n" not in line and len(line) < _LINE:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(_LINE)
        if not piece:
            break
        line += piece
    return line
