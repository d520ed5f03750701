"""The RPKI-to-Router protocol, as far as one question needs it: all VRPs that a server has.

Version 1 (RFC 8210) first, version 0 (RFC 6810) for a server that knows no other.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from mesh.foreign import printable
from mesh.rpki.errors import Unread
from mesh.rpki.selection import Malformed, Selection
from mesh.spec.problems import shown
from mesh.spec.vrps import VrpServer

DEADLINE = 60.0
"""Seconds for everything."""
SILENCE = 10.0
"""Seconds without a byte after which nobody is waited for."""
LARGEST = 64 << 10
"""Bytes of one PDU: an error report quotes another one, a router key is a few hundred."""
MOST = 5_000_000
"""VRPs of one answer: ten times what the world had in 2025."""

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
"""Lengths of PDUs that have but one, by version and type."""

# RFC 8210, section 12.
NO_DATA, UNSUPPORTED_VERSION, UNEXPECTED_VERSION = 2, 4, 8
ERRORS = {
    0: "corrupt data", 1: "internal error", 2: "no data available", 3: "invalid request",
    4: "unsupported protocol version", 5: "unsupported PDU type",
    6: "withdrawal of unknown record", 7: "duplicate announcement received",
    8: "unexpected protocol version",
}  # fmt: skip

CURE = "look whether host and port are right and the RTR server up"


class _OlderVersion(Exception):
    """The server does not speak the version that we asked in."""


@dataclass(frozen=True, slots=True)
class _Pdu:
    version: int
    kind: int
    field: int
    """Session id or error code."""
    body: bytes


@dataclass(frozen=True, slots=True)
class _Patience:
    """Until when (of the monotonic clock) everything has to be there, and how long a server may
    be silent, in seconds."""

    deadline: float
    silence: float

    def left(self) -> float:
        """Seconds for the next byte; zero where the time is up."""
        return max(0.0, min(self.silence, self.deadline - time.monotonic()))


def ask(server: VrpServer, selection: Selection, deadline: float, silence: float) -> None:
    """Put all VRPs of a server into a selection; Unread where it does not give them in time.

    ``deadline`` is seconds for everything, ``silence`` for every byte.
    """
    patience = _Patience(time.monotonic() + deadline, silence)
    for version in (1, 0):
        try:
            with _connected(server, patience) as connection:
                _exchange(connection, version, selection, patience)
            return
        except _OlderVersion:
            continue
        except OSError as error:
            if version and isinstance(error, ConnectionError) and not selection.seen:
                continue  # so may end what a server of version 0 closes without reading it
            raise _broken(error, selection, patience) from None
    raise Unread("it speaks neither version 1 nor version 0 of RTR", "name a server that does")


def _connected(server: VrpServer, patience: _Patience) -> socket.socket:
    try:
        return socket.create_connection((server.host, server.port), timeout=patience.left())
    except TimeoutError:
        raise Unread(f"nobody answers there within {patience.silence:g} s", CURE) from None
    except OSError as error:
        raise Unread(f"it cannot be reached ({error.strerror or error})", CURE) from None


def _broken(error: OSError, selection: Selection, patience: _Patience) -> Unread:
    so_far = f"after {selection.seen} VRPs"
    if not isinstance(error, TimeoutError):
        return Unread(f"the connection broke {so_far} ({error.strerror or error})", CURE)
    if time.monotonic() >= patience.deadline:
        return Unread(f"its answer takes too long: the time was up {so_far}", "try again")
    return Unread(f"it was silent for {patience.silence:g} s {so_far}", CURE)


def _exchange(
    connection: socket.socket, asked: int, selection: Selection, patience: _Patience
) -> None:
    """One reset query and its answer (RFC 8210, section 8.1)."""
    connection.sendall(HEADER.pack(asked, RESET_QUERY, 0, HEADER.size))
    pdus = _pdus(connection, asked, patience)
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
    raise Unread(
        f"the connection was closed amid the data, after {selection.seen} VRPs", "try again"
    )


def _begun(pdus: Iterator[_Pdu]) -> int:
    """The session id of the cache response that has to come first."""
    for pdu in pdus:
        if pdu.kind == CACHE_RESPONSE:
            return pdu.field
        if pdu.kind == CACHE_RESET:
            raise Unread("it has no data for us (cache reset)", "try again in a minute")
        if pdu.kind != SERIAL_NOTIFY:  # which a server may send whenever it likes (section 5.2)
            raise _corrupt(f"a PDU of type {pdu.kind} before the cache response")
    # Before there was a version 1, some closed the connection at the sight of it.
    raise _OlderVersion


def _pdus(connection: socket.socket, asked: int, patience: _Patience) -> Iterator[_Pdu]:
    """The PDUs of an answer until the connection ends, all of one version, no error among them."""
    spoken: int | None = None
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
            spoken = min(version, asked) if spoken is None else spoken
            if version != spoken:
                raise _corrupt(f"version {version} where it spoke {spoken}")
            yield pdu
        del buffer[:begin]
        left = patience.left()
        if not left:
            raise TimeoutError
        connection.settimeout(left)
        more = connection.recv(1 << 18)
        if not more:
            if buffer:
                raise Unread("the connection was closed amid a PDU", "try again")
            return
        buffer += more


def _check_header(version: int, kind: int, length: int) -> None:
    if version > 2 or not HEADER.size <= length <= LARGEST:
        raise Unread("whoever answers there speaks no RTR", CURE)
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
        raise Unread(f"it sends more than {MOST} VRPs", "name a server of the RPKI")
    try:
        selection.take(family, address, length, max_length, asn)
    except Malformed as error:
        raise _corrupt(f"VRP {selection.seen + 1}: {error}") from None


def _refusal(pdu: _Pdu, asked: int) -> Unread | _OlderVersion:
    """What an error report (section 5.11) means to us."""
    if asked > 0 and pdu.field in (UNSUPPORTED_VERSION, UNEXPECTED_VERSION):
        return _OlderVersion()
    if pdu.field == NO_DATA:
        return Unread("it has no data yet", "wait until its validator has finished its first run")
    words = ERRORS.get(pdu.field, f"error {pdu.field}")
    said = _text(pdu.body)
    return Unread(f"it refuses: {words}{f' ({said})' if said else ''}", "ask who runs the server")


def _text(body: bytes) -> str:
    """The diagnostic text of an error report: behind the PDU that it quotes, each with its length
    before it."""
    quoted = int.from_bytes(body[:4])
    rest = body[4 + quoted :]
    text = rest[4 : 4 + int.from_bytes(rest[:4])].decode("utf-8", "replace")
    return printable(shown(text)) if text else ""


def _corrupt(what: str) -> Unread:
    return Unread(f"its answer is no RTR: {what}", "ask who runs the server")
