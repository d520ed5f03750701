"""What checks by HTTP and HTTPS have in common: one request, and what is read of the answer."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints

from mesh.services.checks.check import HealthCheck, Port, Target, Whole
from mesh.services.checks.connection import Deadline, written

HostName = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9_-]+[.])*[A-Za-z0-9-]+$", max_length=253),
]
"""A host's name, as clients send it."""
Status = Annotated[Whole, Field(ge=100, le=599)]
"""A status of HTTP."""

HEAD = 16 * 1024
"""How long status line and header fields may be."""
BODY = 64 * 1024
"""How much of the body is searched."""
_PIECE = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCheck(HealthCheck):
    """A check by one ``GET``. One deadline holds for all of it, and no more is read than needed."""

    port: Port
    """The port that is asked."""
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=200)] = "/"
    """The path that is asked for."""
    host: HostName | None = None
    """The host name that is asked for, as clients send it; not set, it is the address."""
    status: tuple[Status, ...] = ()
    """Each status that is good; without any, 200 to 299 are."""
    contains: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """A text that the first 64 KiB of the answer's body have to contain."""

    @property
    def subject(self) -> str:
        """The kind and the port, and the host name where there is one."""
        return f"{self.kind} port {self.port}" + (f" {self.host}" if self.host else "")

    @property
    def watched_port(self) -> int:
        """The port that is asked."""
        return self.port

    def asked(self, stream: socket.socket, usual: int, target: Target, deadline: Deadline) -> str:
        """Sends the request; what is wrong with the answer. ``usual`` is the protocol's port."""
        stream.settimeout(deadline.left())
        stream.sendall(self._request(target, usual))
        received = _line(stream, deadline)
        fields = received.partition(b"\n")[0].split(b" ", 2)
        if not received:
            return "closed without an answer"
        if len(fields) < 2 or not fields[0].startswith(b"HTTP/") or not fields[1].strip().isdigit():
            return "the answer is not HTTP"
        # Digits of others may be many.
        status = int(fields[1][:6])
        if not (status in self.status if self.status else 200 <= status <= 299):
            expected = f", expected {' or '.join(map(str, self.status))}" if self.status else ""
            return f"status {status}{expected}"
        if self.contains is None or _has(self.contains.encode(), received, stream, deadline):
            return ""
        return f"the answer does not contain {self.contains!r}"

    def _request(self, target: Target, usual: int) -> bytes:
        address = written(target.address)
        host = self.host or (address if target.address.version == 4 else f"[{address}]")
        if self.port != usual:
            host = f"{host}:{self.port}"
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: anycast-mesh\r\n"
            "Connection: close\r\n\r\n"
        ).encode()


def _line(stream: socket.socket, deadline: Deadline) -> bytes:
    """What has come once there is a line, or no more comes."""
    received = b""
    while b"\n" not in received and len(received) < HEAD:
        stream.settimeout(deadline.left())
        piece = stream.recv(_PIECE)
        if not piece:
            break
        received += piece
    return received


def _has(text: bytes, received: bytes, stream: socket.socket, deadline: Deadline) -> bool:
    """Whether the body contains a text; reads until it does, or no more may come."""
    while True:
        body, whole = _body(received)
        if text in body[:BODY]:
            return True
        if whole or len(body) >= BODY or len(received) >= HEAD + 2 * BODY:
            return False
        stream.settimeout(deadline.left())
        piece = stream.recv(_PIECE)
        if not piece:
            return False
        received += piece


def _body(received: bytes) -> tuple[bytes, bool]:
    """The body as far as it has come, and whether it has come whole (RFC 9112, section 6)."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return b"", len(received) >= HEAD
    found = {
        name.strip().lower(): value.strip().lower()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
    }
    if found.get(b"transfer-encoding", b"").endswith(b"chunked"):
        return _unchunked(body)
    length = found.get(b"content-length", b"")
    if length.isdigit() and len(length) <= 18:
        return body[: int(length)], len(body) >= int(length)
    return body, False


def _unchunked(body: bytes) -> tuple[bytes, bool]:
    """The chunks that have come, joined, and whether the last one has."""
    parts: list[bytes] = []
    at = 0
    # By places: slices of what is left would copy it for each chunk, which may be of one byte.
    while (end := body.find(b"\r\n", at)) >= 0:
        digits = body[at:end].partition(b";")[0].strip()
        if not digits.isalnum() or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
            return b"".join(parts), True
        length = int(digits, 16)
        if not length:
            return b"".join(parts), True
        at = end + 2
        parts.append(body[at : at + length])
        at += length + 2
    return b"".join(parts), False
