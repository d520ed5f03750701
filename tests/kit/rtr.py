"""A validator that says over RTR whatever a test wants, and can be silent, wrong or away.

Versions 0 (RFC 6810), 1 (RFC 8210) and 2 (draft-ietf-sidrops-8210bis), the last with ASPA.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from mesh.netns import inside

HEADER = struct.Struct("!BBHI")
"""Version, type, session or error code or zero, length of the whole PDU."""

SERIAL_NOTIFY, SERIAL_QUERY, RESET_QUERY, CACHE_RESPONSE, IPV4, IPV6 = 0, 1, 2, 3, 4, 6
END_OF_DATA, CACHE_RESET, ERROR, ASPA = 7, 8, 10, 11
CORRUPT, INTERNAL, NO_DATA, UNSUPPORTED_VERSION = 0, 1, 2, 4
ANNOUNCE, WITHDRAW = 1, 0


@dataclass(frozen=True, slots=True)
class Vrp:
    """A validated ROA payload (RFC 6811)."""

    prefix: str
    asn: int
    max_length: int | None = None
    """That of the prefix where None."""

    def pdu(self, version: int, flags: int) -> bytes:
        """As a PDU."""
        network = ip_network(self.prefix)
        return prefix_pdu(version, flags, network, self.max_length or network.prefixlen, self.asn)


@dataclass(frozen=True, slots=True)
class Providers:
    """An ASPA record: who may announce a customer's routes upwards."""

    customer: int
    asns: tuple[int, ...]

    def pdu(self, version: int, flags: int) -> bytes:
        """As a PDU of version 2; a withdrawal names the customer only."""
        given = sorted(self.asns) if flags == ANNOUNCE else []
        body = struct.pack(f"!I{len(given)}I", self.customer, *given)
        return HEADER.pack(version, ASPA, flags << 8, HEADER.size + len(body)) + body


Record = Vrp | Providers


def prefix_pdu(
    version: int, flags: int, network: IPv4Network | IPv6Network, max_length: int, asn: int
) -> bytes:
    """A VRP on the wire."""
    kind = IPV4 if network.version == 4 else IPV6
    body = struct.pack("!BBBx", flags, network.prefixlen, max_length)
    body += network.network_address.packed + struct.pack("!I", asn)
    return HEADER.pack(version, kind, 0, HEADER.size + len(body)) + body


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds that an End of Data asks for, from version 1 on."""

    refresh: int = 3600
    retry: int = 600
    expire: int = 7200


@dataclass(frozen=True, slots=True)
class Query:
    """What a router asked, and when (monotonic)."""

    at: float
    version: int
    kind: int


class Server:
    """One validator at one address; records stay while it is away.

    ``version`` is the highest that it speaks. ``mute``: it takes connections and says nothing.
    ``error``: it answers every query with this code. ``raw``: data PDUs of version 1 or 2, already
    coded, that come before the records (a table too large for objects).
    """

    def __init__(
        self,
        address: str,
        port: int = 3323,
        *,
        version: int = 2,
        intervals: Intervals = Intervals(),
        records: Iterable[Record] = (),
    ) -> None:
        self._address, self._port = address, port
        self._namespace: str | None = None
        self.version, self.intervals = version, intervals
        self.mute, self.raw = False, b""
        self.error: int | None = None
        self.session = 1
        self._records: dict[Record, None] = dict.fromkeys(records)
        self._deltas: list[tuple[tuple[Record, int], ...]] = []
        self._serial = 1
        self._lock = threading.RLock()
        self._listener: socket.socket | None = None
        self._connections: dict[socket.socket, int] = {}
        self.queries: list[Query] = []
        self.heard: list[tuple[int, bytes]] = []
        """Error reports of routers: code and text."""

    # --- What a test does ------------------------------------------------------------------------

    def come(self, namespace: str | None = None) -> None:
        """Take connections (again), in this namespace from now on."""
        self._namespace = namespace or self._namespace

        def listening() -> socket.socket:
            made = socket.socket(socket.AF_INET6 if ":" in self._address else socket.AF_INET)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self._address, self._port))
            made.listen(16)
            return made

        self._listener = inside(self._namespace, listening) if self._namespace else listening()
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go(self) -> None:
        """Be gone: nobody listens, and every connection ends."""
        listener, self._listener = self._listener, None
        with self._lock:
            ending = [*self._connections, *([listener] if listener else [])]
            self._connections.clear()
        for each in ending:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def tell(self, *add: Record, without: Iterable[Record] = ()) -> float:
        """Records come and go, as one update; routers are notified. Returns when (monotonic)."""
        with self._lock:
            delta = [(each, WITHDRAW) for each in without] + [(each, ANNOUNCE) for each in add]
            for each, flags in delta:
                if flags == ANNOUNCE:
                    self._records[each] = None
                else:
                    del self._records[each]
            self._deltas.append(tuple(delta))
            self._serial += 1
            at = time.monotonic()
            for connection, version in self._connections.items():
                with contextlib.suppress(OSError):
                    connection.sendall(self._pdu(version, SERIAL_NOTIFY, self._number()))
            return at

    def forget(self) -> None:
        """What a validator is after a new start: another session, and no history."""
        with self._lock:
            self.session += 1
            self._deltas.clear()
            self._serial = 1000 * self.session  # no number of the last one's

    def say(self, *pdus: bytes) -> None:
        """Send this to every router, as it is."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b"".join(pdus))

    def asked(self, kind: int | None = None) -> int:
        """How many queries came, of one kind or of any."""
        return sum(kind in (None, query.kind) for query in list(self.queries))

    # --- Within ----------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                made, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                if listener is not self._listener:
                    made.close()
                    return
                self._connections[made] = self.version
            threading.Thread(target=self._serve, args=(made,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for version, kind, field, body in _pdus(connection):
                if kind == ERROR:
                    self.heard.append((field, body))
                    continue
                self.queries.append(Query(time.monotonic(), version, kind))
                if not self.mute:
                    self._answer(connection, version, kind, field, body)
        with self._lock:
            self._connections.pop(connection, None)
        connection.close()

    def _answer(
        self, connection: socket.socket, version: int, kind: int, field: int, body: bytes
    ) -> None:
        with self._lock:
            if version > self.version:
                connection.sendall(_error(self.version, UNSUPPORTED_VERSION))
                return
            if self.error is not None:
                connection.sendall(_error(version, self.error))
                return
            self._connections[connection] = version
            if kind == RESET_QUERY:
                self._send_all(connection, version, self.raw, [(r, 1) for r in self._records])
            elif kind == SERIAL_QUERY:
                (serial,) = struct.unpack("!I", body)
                known = self._serial - len(self._deltas) <= serial <= self._serial
                if field != self.session or not known:
                    connection.sendall(HEADER.pack(version, CACHE_RESET, 0, HEADER.size))
                    return
                # Only the difference: announced and taken back between is nothing.
                later = self._deltas[len(self._deltas) - (self._serial - serial) :]
                net: dict[Record, int] = {}
                for record, flags in (each for delta in later for each in delta):
                    if net.pop(record, flags) == flags:
                        net[record] = flags
                self._send_all(connection, version, b"", list(net.items()))

    def _send_all(
        self, connection: socket.socket, version: int, raw: bytes, records: list[tuple[Record, int]]
    ) -> None:
        parts = [HEADER.pack(version, CACHE_RESPONSE, self.session, HEADER.size), raw]
        # Withdrawals first, as a replaced ASPA record wants it.
        for record, flags in sorted(records, key=lambda each: each[1]):
            if isinstance(record, Vrp) or version >= 2:
                parts.append(record.pdu(version, flags))
        times = self.intervals
        wanted = (times.refresh, times.retry, times.expire) if version else ()
        end = struct.pack(f"!{len(wanted)}I", *wanted)
        parts.append(self._pdu(version, END_OF_DATA, self._number() + end))
        connection.sendall(b"".join(parts))

    def _number(self) -> bytes:
        return struct.pack("!I", self._serial)

    def _pdu(self, version: int, kind: int, body: bytes) -> bytes:
        return HEADER.pack(version, kind, self.session, HEADER.size + len(body)) + body


def _error(version: int, code: int, text: bytes = b"no") -> bytes:
    """An error report that quotes nothing."""
    body = struct.pack("!II", 0, len(text)) + text
    return HEADER.pack(version, ERROR, code, HEADER.size + len(body)) + body


def _pdus(connection: socket.socket) -> Iterator[tuple[int, int, int, bytes]]:
    """What a router says: version, type, session or code, body."""
    buffer = b""
    while True:
        while len(buffer) >= HEADER.size:
            version, kind, field, length = HEADER.unpack_from(buffer)
            if len(buffer) < length:
                break
            yield version, kind, field, buffer[HEADER.size : length]
            buffer = buffer[length:]
        select.select([connection], [], [])
        more = connection.recv(1 << 16)
        if not more:
            return
        buffer += more
