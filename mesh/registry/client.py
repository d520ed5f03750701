"""A client of one registry: HTTP over TLS with the standard library, signed where asked.

Certificates are not verified, since everything fetched is signed, sealed or hashed. Their hash is
kept to report a mismatch.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from mesh.foreign import printable
from mesh.registry import paths
from mesh.trust.encoding import sha256
from mesh.trust.requests import Signer

SLOWEST = 30.0
"""Seconds that a whole answer may take, beyond the time that it may be silent."""

MAX_TEXT = 200
"""Characters of a registry's answer in a log line."""


class Unreachable(OSError):
    """The registry cannot be reached. The reason is one printable line: it may contain the
    registry's status line, and goes to a terminal."""

    def __init__(self, why: str) -> None:
        super().__init__(printable(why))


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body of an answer."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request was granted."""
        return 200 <= self.status < 300

    def why(self) -> str:
        """Status and the registry's answer, short enough for a log line."""
        text = printable(self.body[:MAX_TEXT].decode("utf-8", "replace"))
        return f"HTTP {self.status} {text}".rstrip()


class Client:
    """A connection to one registry, kept open between requests. For one thread at a time."""

    def __init__(self, url: str, signer: Signer | None = None, timeout: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or parts.hostname is None:
            raise ValueError(f"registry {url!r}: must be https://<address>:<port>")
        self.url = url
        self.signer = signer
        self.tls_sha256: str | None = None
        """SHA-256 (hex) of the certificate that the registry showed last."""
        self.ahead: float | None = None
        """Seconds by which our clock is ahead of the registry's, by the Date of its last answer,
        to about a second; None without one."""
        self._host, self._port = parts.hostname, parts.port or 443
        self._timeout = timeout
        self.connect_seconds = timeout
        """How long a connection may take to be made."""
        self._connection: http.client.HTTPSConnection | None = None
        self._nonce: str | None = None

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        signed: bool = False,
        timeout: float | None = None,
        limit: int = paths.MAX_ANSWER,
    ) -> Answer:
        """One request and its answer. A signed one is repeated with the nonce of a refusal; a kept
        connection that the server has closed is opened again once."""
        answer = self._once(method, target, body, signed, timeout, limit)
        if signed and answer.status == 401 and self._nonce is not None:
            answer = self._once(method, target, body, signed, timeout, limit)
        return answer

    def close(self) -> None:
        """Closes the connection; the next request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _once(
        self,
        method: str,
        target: str,
        body: bytes,
        signed: bool,
        timeout: float | None,
        limit: int,
    ) -> Answer:
        if signed and self._nonce is None:
            self._send("GET", paths.NONCE, b"", {}, self._timeout, paths.MAX_SMALL)
        headers = {}
        if signed:
            if self.signer is None or self._nonce is None:
                raise Unreachable(f"{self.url}: gives no nonce")
            headers["Authorization"] = self.signer.header(method, target, body, self._nonce)
            self._nonce = None
        return self._send(method, target, body, headers, timeout or self._timeout, limit)

    def _send(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: dict[str, str],
        timeout: float,
        limit: int,
    ) -> Answer:
        kept = self._connection is not None
        try:
            return self._exchange(method, target, body, headers, timeout, limit)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            if not kept or isinstance(error, TimeoutError):
                raise self._unreachable(error) from None
        try:
            return self._exchange(method, target, body, headers, timeout, limit)
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.url}: {str(error)[:MAX_TEXT] or type(error).__name__}")

    def _exchange(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: dict[str, str],
        timeout: float,
        limit: int,
    ) -> Answer:
        connection = self._connected(timeout)
        asked = time.time()
        connection.request(method, target, body=body or None, headers=headers)
        _tls(connection).until = time.monotonic() + timeout + SLOWEST
        response = connection.getresponse()
        self.ahead = _ahead(response.headers.get("date"), asked, time.time())
        content = response.read(limit + 1)
        if len(content) > limit:
            raise ValueError(f"answers with more than {limit} bytes")
        if response.will_close:
            self.close()
        nonce = response.headers.get(paths.NONCE_HEADER)
        self._nonce = nonce if nonce and len(nonce) == 96 else None
        return Answer(response.status, content)

    def _connected(self, timeout: float) -> http.client.HTTPSConnection:
        if self._connection is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.sslsocket_class = _Impatient
            fresh = http.client.HTTPSConnection(
                self._host, self._port, timeout=min(timeout, self.connect_seconds), context=context
            )
            fresh.connect()
            _notice_silence(fresh.sock)
            self._connection = fresh
            certificate = _tls(fresh).getpeercert(binary_form=True)
            self.tls_sha256 = sha256(certificate) if certificate else None
        line = _tls(self._connection)
        line.settimeout(timeout)
        line.until = None
        return self._connection


def _ahead(date: str | None, asked: float, answered: float) -> float | None:
    """Seconds by which our clock is ahead of a Date header (RFC 9110, 6.6.1) of an answer between
    these two moments of it. An answer that is waited for carries the date of any moment between:
    what that explains is no difference."""
    try:
        # It is cut to whole seconds.
        stated = None if date is None else parsedate_to_datetime(date).timestamp() + 0.5
    except (ValueError, TypeError, OverflowError):
        return None
    return None if stated is None else max(0.0, asked - stated) or min(0.0, answered - stated)


def _notice_silence(connection: socket.socket) -> None:
    """A registry without power answers nothing, not even a long-poll: noticed in about 11 s."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform != "linux":
        return  # OpenBSD's times are the system's (tcp(4)): a timeout of the request ends it there.
    for option, value in ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2),
                          (socket.TCP_KEEPCNT, 3)):  # fmt: skip
        connection.setsockopt(socket.IPPROTO_TCP, option, value)


class _Impatient(ssl.SSLSocket):
    """A timeout counts from each byte, so a registry that dribbles would hold its caller for
    ever. ``until`` (monotonic seconds) ends it."""

    until: float | None = None

    def recv_into(self, *given: Any, **named: Any) -> int:
        """Reads as ever, but not past the end."""
        if self.until is not None:
            left = self.until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the answer does not end")
            self.settimeout(min(left, self.gettimeout() or left))
        return super().recv_into(*given, **named)


def _tls(connection: http.client.HTTPSConnection) -> _Impatient:
    socket_: socket.socket = connection.sock
    if not isinstance(socket_, _Impatient):
        raise http.client.NotConnected("not connected")
    return socket_
