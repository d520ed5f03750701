"""A request and its response, as HTTP has them, read and written by hand: GET and HEAD alone, with
a small head and no body.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

MAX_LINE, MAX_HEAD, MAX_HEADERS = 8192, 16384, 64
HTML, JSON, TEXT, CSS = (
    "text/html; charset=utf-8",
    "application/json",
    "text/plain; charset=utf-8",
    "text/css; charset=utf-8",
)
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_FIXED = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Connection": "close",
}
"""Headers of every response."""
_TARGET = re.compile(r"^/[\x21-\x7e]*$")
_HEADER = re.compile(r"^(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(?P<value>[^\x00\r\n]*)$")


class Reading(Protocol):
    """The source of a request's lines."""

    def readline(self, limit: int, /) -> bytes:
        """The next line with its line end; without it if it is longer, or the source ends."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request: the path and the query of its target, and its Host."""

    method: str
    path: str
    query: str
    host: str


@dataclass(frozen=True, slots=True)
class Response:
    """A response; ``headers`` are further ones."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def written(self, with_body: bool = True) -> bytes:
        """Its bytes; HEAD is answered without the body."""
        head = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        own = {"Content-Type": self.kind, "Content-Length": str(len(self.body))}
        head += [f"{name}: {value}" for name, value in {**own, **_FIXED, **self.headers}.items()]
        text = "\r\n".join(head).encode("ascii") + b"\r\n\r\n"
        return text + self.body if with_body else text


class Malformed(Exception):
    """A request that is not answered, with the status of HTTP for it."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Hangup(Exception):
    """The client has asked nothing."""


def read(source: Reading) -> Request:
    """The next request. Raises :class:`Malformed`, and :class:`Hangup`."""
    method, target = _first(source)
    headers = _headers(source)
    if method not in ("GET", "HEAD"):
        raise Malformed(405, "only GET and HEAD are answered")
    if not _TARGET.match(target):
        raise Malformed(400, "the target is no path")
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) != 1:
        raise Malformed(400, "one Host is needed")
    if any(name in ("content-length", "transfer-encoding") for name, _ in headers):
        raise Malformed(400, "a body is not taken")
    path, _, query = target.partition("?")
    return Request(method, path, query.partition("#")[0], hosts[0])


def _first(source: Reading) -> tuple[str, str]:
    line = source.readline(MAX_LINE + 1)
    if not line:
        raise Hangup
    if len(line) > MAX_LINE:
        raise Malformed(414, f"the request line is longer than {MAX_LINE} bytes")
    words = _text(line).split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise Malformed(400, "this is no request of HTTP/1")
    return words[0], words[1]


def _headers(source: Reading) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    left = MAX_HEAD
    while True:
        line = source.readline(left + 1)
        left -= len(line)
        if left < 0 or len(found) > MAX_HEADERS:
            raise Malformed(431, f"at most {MAX_HEADERS} headers, {MAX_HEAD} bytes")
        text = _text(line)
        if not text:
            return found
        header = _HEADER.match(text)
        if header is None:
            raise Malformed(400, "a header is malformed")
        found.append((header["name"].lower(), header["value"].rstrip()))


def _text(line: bytes) -> str:
    if not line.endswith(b"\n"):
        raise Malformed(400, "the request is cut off")
    return line.rstrip(b"\r\n").decode("latin-1")
