"""A service that answers over HTTP."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from mesh.agent.checks.why import why
from mesh.agent.config import Check

_LINE = 4096


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """Healthy where ``GET path`` on this machine is answered with a 2xx status in time.

    Only the status line is read, under one deadline: a server that dribbles is not healthy.
    """

    check: Check

    def problem(self) -> str:
        """Asks once; why the answer is not good."""
        deadline = time.monotonic() + self.check.timeout
        request = f"GET {self.check.path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        try:
            with socket.create_connection(
                ("127.0.0.1", self.check.port), self.check.timeout
            ) as connection:
                connection.sendall(request)
                line = _status_line(connection, deadline)
        except OSError as error:
            return why(error, self.check.timeout)
        words = line.split(b" ")
        if len(words) < 2 or not words[0].startswith(b"HTTP/"):
            return "the answer is not HTTP" if line else "closed without an answer"
        said = line.partition(b" ")[2].decode("ascii", "replace").strip()
        return "" if words[1][:1] == b"2" else f"answers {said[:60]}"


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
