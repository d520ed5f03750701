"""A BGP speaker that is not BIRD and says whatever a test wants: raw messages (RFC 4271).

It opens a session, keeps it alive, and sends UPDATEs as they are given. It obeys nobody's policy,
which is what a rogue mate does.
"""

from __future__ import annotations

import socket
import struct
import threading
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE = 1, 2, 3, 4
AS_TRANS = 23456
ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF, MP_REACH_NLRI = 1, 2, 3, 5, 14
AFI = {4: 1, 6: 2}


@dataclass(frozen=True)
class Route:
    """An announcement: prefix, AS path from the nearest, and next hop."""

    prefix: str
    path: tuple[int, ...]
    next_hop: IPv4Address | IPv6Address
    local_pref: int | None = None


def message(kind: int, body: bytes = b"") -> bytes:
    """A BGP message with its header."""
    return MARKER + struct.pack("!HB", 19 + len(body), kind) + body


def open_message(asn: int, router_id: IPv4Address, hold: int = 90) -> bytes:
    """OPEN with both families, 32-bit ASNs, and IPv4 over an IPv6 next hop (RFC 8950)."""
    capabilities = [
        (1, struct.pack("!HBB", 1, 0, 1)),
        (1, struct.pack("!HBB", 2, 0, 1)),
        (2, b""),
        (5, struct.pack("!HHH", 1, 1, 2)),
        (65, struct.pack("!I", asn)),
    ]
    coded = b"".join(struct.pack("!BB", code, len(value)) + value for code, value in capabilities)
    options = struct.pack("!BB", 2, len(coded)) + coded
    short = asn if asn < 65536 else AS_TRANS
    head = struct.pack("!BHH", 4, short, hold) + router_id.packed
    return message(OPEN, head + bytes([len(options)]) + options)


def update(route: Route) -> bytes:
    """UPDATE with one route. IPv4 with an IPv4 next hop goes the old way, all else as MP-BGP."""
    network = ip_network(route.prefix)
    octets = (network.prefixlen + 7) // 8
    nlri = bytes([network.prefixlen]) + network.network_address.packed[:octets]
    attributes = _attribute(ORIGIN, b"\0")
    segment = b"".join(struct.pack("!I", asn) for asn in route.path)
    attributes += _attribute(
        AS_PATH, struct.pack("!BB", 2, len(route.path)) + segment if route.path else b""
    )
    if route.local_pref is not None:
        attributes += _attribute(LOCAL_PREF, struct.pack("!I", route.local_pref))
    if network.version == 4 and route.next_hop.version == 4:
        attributes += _attribute(NEXT_HOP, route.next_hop.packed)
        tail = nlri
    else:
        hop = route.next_hop.packed
        reach = struct.pack("!HBB", AFI[network.version], 1, len(hop)) + hop + b"\0" + nlri
        attributes += _attribute(MP_REACH_NLRI, reach)
        tail = b""
    return message(UPDATE, struct.pack("!HH", 0, len(attributes)) + attributes + tail)


def _attribute(kind: int, value: bytes) -> bytes:
    flags = 0x80 if kind == MP_REACH_NLRI else 0x40
    return struct.pack("!BBB", flags, kind, len(value)) + value


class Speaker:
    """One session, made from inside the network namespace of its owner."""

    def __init__(self, asn: int, router_id: IPv4Address) -> None:
        self._asn, self._router_id = asn, router_id
        self._socket: socket.socket | None = None
        self.established = threading.Event()

    def connect(self, source: tuple[str, int], target: tuple[str, int]) -> None:
        """Connect; each end is an address and the index of its interface (0 for global ones)."""
        version = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
        made = socket.socket(version, socket.SOCK_STREAM)
        made.settimeout(10)
        scoped = (0, source[1]) if version == socket.AF_INET6 else ()
        made.bind((source[0], 0, *scoped))
        scoped = (0, target[1]) if version == socket.AF_INET6 else ()
        made.connect((target[0], 179, *scoped))
        self._socket = made
        made.sendall(open_message(self._asn, self._router_id))
        threading.Thread(target=self._listen, args=(made,), daemon=True).start()

    def announce(self, *routes: Route) -> None:
        """Send routes as they are."""
        assert self._socket is not None
        for route in routes:
            self._socket.sendall(update(route))

    def close(self) -> None:
        """End the session."""
        if self._socket is not None:
            self._socket.close()

    def _listen(self, connection: socket.socket) -> None:
        buffer = b""
        while True:
            try:
                chunk = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not chunk:
                return
            buffer += chunk
            while len(buffer) >= 19 and len(buffer) >= (
                size := int.from_bytes(buffer[16:18], "big")
            ):
                kind, buffer = buffer[18], buffer[size:]
                if kind in (OPEN, KEEPALIVE):
                    connection.sendall(message(KEEPALIVE))
                if kind == KEEPALIVE:
                    self.established.set()
                if kind == NOTIFICATION:
                    return
