"""A client of the RPKI-to-Router protocol that reads all VRPs of a server once.

Version 1 (RFC 8210) first, then version 0 (RFC 6810) for older servers.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mesh.foreign import printable
from mesh.rpki.errors import SourceError
from mesh.rpki.selection import Malformed, Selection
from mesh.spec.problems import shown
from mesh.spec.vrps import VrpServer

DEADLINE = 60.0
"""Seconds for everything."""
SILENCE = 10.0
"""Seconds without a byte until a server is given up."""
LARGEST = 64 << 10
"""Bytes of one PDU: an error report quotes another one, a router key is a few hundred."""
MOST = 5_000_000
"""VRPs of one answer: ten times all of 2025."""

HEADER = struct.Struct("!BBHI")
"""Version, type, session or error code, length of the whole PDU (RFC 8210, section 5)."""
PREFIX4 = struct.Struct("!BBBxII")
PREFIX6 = struct.Struct("!BBBxQQI")
"""Flags, length, maxLength, prefix, ASN."""

SERIAL_NOTIFY, CACHE_RESPONSE, IPV4, IPV6, END_OF_DATA, ERROR = 0, 3, 4, 6, 7, 10
RESET_QUERY, CACHE_RESET, ROUTER_KEY = 2, 8, 9
LENGTHS = {
    (0, SERIAL_NOTIFY): 12, (1, SERIAL_NOTIFY): 12,
    (0, CACHE_RESPONSE): 8, (1, CACHE_RESPONSE): 8,
    (0, IPV4): 20, (1, IPV4): 20,
    (0, IPV6): 32, (1, IPV6): 32,
    (0, END_OF_DATA): 12, (1, END_OF_DATA): 24,
    (0, CACHE_RESET): 8, (1, CACHE_RESET): 8,
}  # fmt: skip
"""Lengths of PDUs with a fixed one, by version and type."""

# RFC 8210, section 12.
NO_DATA, UNSUPPORTED_VERSION, UNEXPECTED_VERSION = 2, 4, 8
ERRORS = {
    0: "corrupt data", 1: "internal error", 2: "no data available", 3: "invalid request",
    4: "unsupported protocol version", 5: "unsupported PDU type",
    6: "withdrawal of unknown record", 7: "duplicate announcement received",
    8: "unexpected protocol version",
}  # fmt: skip

CURE = "check that host and port are right and the RTR server is up"


class _OlderVersion(Exception):
    """The server does not support the version of the query."""


@dataclass(frozen=True, slots=True)
class _Pdu:
    version: int
    kind: int
    field: int
    """Session id or error code."""
    body: bytes


@dataclass(frozen=True, slots=True)
class _Limits:
    """When (of the monotonic clock) everything has to have arrived, and the seconds that a server
    may be silent."""

    deadline: float
    silence: float

    def left(self) -> float:
        """Seconds for the next byte; zero after the deadline."""
        return max(0.0, min(self.silence, self.deadline - time.monotonic()))


def ask(server: VrpServer, selection: Selection, deadline: float, silence: float) -> None:
    """Puts all VRPs of a server into a selection; raises SourceError.

    ``deadline`` is seconds for everything, ``silence`` for every byte.
    """
    limits = _Limits(time.monotonic() + deadline, silence)
    for version in (1, 0):
        try:
            with _connected(server, limits) as connection:
                _exchange(connection, version, selection, limits)
            return
        except _OlderVersion:
            continue
        except OSError as error:
            if version and isinstance(error, ConnectionError) and not selection.seen:
                continue  # a server of version 0 may have closed the connection without reading
            raise _broken(error, selection, limits) from None
    raise SourceError(
        "it supports neither version 1 nor version 0 of RTR", "give a server that does"
    )


def _connected(server: VrpServer, limits: _Limits) -> socket.socket:
    try:
        return socket.create_connection((server.host, server.port), timeout=limits.left())
    except TimeoutError:
        raise SourceError(f"no answer within {limits.silence:g} s", CURE) from None
    except OSError as error:
        raise SourceError(f"it cannot be reached ({error.strerror or error})", CURE) from None


def _broken(error: OSError, selection: Selection, limits: _Limits) -> SourceError:
    so_far = f"after {selection.seen} VRPs"
    if not isinstance(error, TimeoutError):
        return SourceError(f"the connection broke {so_far} ({error.strerror or error})", CURE)
    if time.monotonic() >= limits.deadline:
        return SourceError(f"its answer takes too long: the time was over {so_far}", "try again")
    return SourceError(f"it was silent for {limits.silence:g} s {so_far}", CURE)


def _exchange(connection: socket.socket, asked: int, selection: Selection, limits: _Limits) -> None:
    """One reset query and its answer (RFC 8210, section 8.1)."""
    connection.sendall(HEADER.pack(asked, RESET_QUERY, 0, HEADER.size))
    pdus = _pdus(connection, asked, limits)
    session = _begun(pdus)
    for pdu in pdus:
        if pdu.kind == IPV4:
            flags, length, max_length, address, asn = PREFIX4.unpack(pdu.body)
            _take(selection, 4, flags, address, length, max_length, asn)
        elif pdu.kind == IPV6:
            flags, length, max_length, high, low, asn = PREFIX6.unpack(pdu.body)
            _take(selection, 6, flags, high << 64 | low, length, max_length, asn)
        elif pdu.kind == END_OF_DATA:
            if pdu.field != session:
                raise _corrupt(f"session {pdu.field} ends where {session} began")
            return
        elif pdu.kind != ROUTER_KEY:  # of BGPsec
            raise _corrupt(f"a PDU of type {pdu.kind} amid the data")
    raise SourceError(
        f"the connection was closed amid the data, after {selection.seen} VRPs", "try again"
    )


def _begun(pdus: Iterator[_Pdu]) -> int:
    """The session id of the cache response, which comes first."""
    for pdu in pdus:
        if pdu.kind == CACHE_RESPONSE:
            return pdu.field
        if pdu.kind == CACHE_RESET:
            raise SourceError("it has no data for us (cache reset)", "try again in a minute")
        if pdu.kind != SERIAL_NOTIFY:  # which a server may send at any time (section 5.2)
            raise _corrupt(f"a PDU of type {pdu.kind} before the cache response")
    # Some servers of version 0 close the connection on a query of version 1.
    raise _OlderVersion


def _pdus(connection: socket.socket, asked: int, limits: _Limits) -> Iterator[_Pdu]:
    """The PDUs of an answer until the connection ends, all of one version; raises on error PDUs."""
    version_used: int | None = None
    buffer = bytearray()
    while True:
        begin = 0
        while len(buffer) - begin >= HEADER.size:
            version, kind, field, length = HEADER.unpack_from(buffer, begin)
            _check_header(version, kind, length)
            if len(buffer) - begin < length:
                break
            pdu = _Pdu(version, kind, field, bytes(buffer[begin + HEADER.size : begin + length]))
            begin += length
            if kind == ERROR:
                raise _refusal(pdu, asked)
            # A server of version 0 may answer in it at once (RFC 8210, section 7).
            version_used = min(version, asked) if version_used is None else version_used
            if version != version_used:
                raise _corrupt(f"version {version} where it began with {version_used}")
            yield pdu
        del buffer[:begin]
        left = limits.left()
        if not left:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(1 << 18)
        if not more:
            if buffer:
                raise SourceError("the connection was closed amid a PDU", "try again")
            return
        buffer += more


def _check_header(version: int, kind: int, length: int) -> None:
    if version > 2 or not HEADER.size <= length <= LARGEST:
        raise SourceError("the server there does not speak RTR", CURE)
    fixed = LENGTHS.get((version, kind))
    if fixed is not None and length != fixed:
        raise _corrupt(f"a PDU of type {kind} has {length} bytes, not {fixed}")


def _take(
    selection: Selection,
    family: Literal[4, 6],
    flags: int,
    address: int,
    length: int,
    max_length: int,
    asn: int,
) -> None:
    if not flags & 1:
        raise _corrupt("it withdraws what it has not announced")
    if selection.seen >= MOST:
        raise SourceError(f"it sends more than {MOST} VRPs", "give an RPKI server")
    try:
        selection.take(family, address, length, max_length, asn)
    except Malformed as error:
        raise _corrupt(f"VRP {selection.seen + 1}: {error}") from None


def _refusal(pdu: _Pdu, asked: int) -> SourceError | _OlderVersion:
    """The exception for an error report (section 5.11)."""
    if asked > 0 and pdu.field in (UNSUPPORTED_VERSION, UNEXPECTED_VERSION):
        return _OlderVersion()
    if pdu.field == NO_DATA:
        return SourceError(
            "it has no data yet", "wait until its validator has finished its first run"
        )
    error = ERRORS.get(pdu.field, f"error {pdu.field}")
    text = _text(pdu.body)
    return SourceError(
        f"it refuses: {error}{f' ({text})' if text else ''}", "ask who runs the server"
    )


def _text(body: bytes) -> str:
    """The diagnostic text of an error report, which follows the quoted PDU; each has its length
    before it."""
    quoted = int.from_bytes(body[:4])
    rest = body[4 + quoted :]
    text = rest[4 : 4 + int.from_bytes(rest[:4])].decode("utf-8", "replace")
    return printable(shown(text)) if text else ""


def _corrupt(what: str) -> SourceError:
    return SourceError(f"its answer is not valid RTR: {what}", "ask who runs the server")
