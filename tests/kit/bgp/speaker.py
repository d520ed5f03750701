"""A BGP speaker that is not BIRD and says whatever a test wants (RFC 4271).

It opens a session or waits for one, keeps it alive, sends what it is given, and logs what it is
told. It obeys nobody's policy, which is what a rogue does, and chooses no routes.
"""

from __future__ import annotations

import contextlib
import math
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address
from typing import TypeVar

from mesh.netns import inside
from tests.kit.bgp import messages
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.log import Closed, Log, Opened
from tests.kit.bgp.messages import (
    Capability,
    Keepalive,
    Notification,
    Open,
    RouteRefresh,
    capabilities,
)
from tests.kit.wait import patience

PORT = 179
TCP_MD5SIG = 14  # linux/tcp.h
KEY_SIZE = 80
CONNECT = 5  # seconds for a TCP connection
SEND = 60  # seconds that a message may wait for the other to read
RETRY = 0.1  # seconds between two attempts to connect

T = TypeVar("T")
Name = tuple[str, int] | tuple[str, int, int, int]  # a socket's own, by family


def sign(made: socket.socket, peer: str, password: str) -> None:
    """Sign a socket's segments to and from one address (RFC 2385): struct tcp_md5sig."""
    version = socket.AF_INET6 if ":" in peer else socket.AF_INET
    address = struct.pack("=HH", version, 0) + (b"" if version == socket.AF_INET else bytes(4))
    address += socket.inet_pton(version, peer)
    key = password.encode()
    layout = f"128sBBHi{KEY_SIZE}s"
    made.setsockopt(
        socket.IPPROTO_TCP, TCP_MD5SIG, struct.pack(layout, address, 0, 0, len(key), 0, key)
    )


class Speaker:
    """One side of a session, over any number of connections, one at a time.

    ``said``: the capabilities of its OPEN, those of ``capabilities(asn)`` when None. ``password``:
    TCP MD5. ``namespace``: the network namespace of its sockets, by name (its caller's when None).
    ``ttl``: of its packets, the kernel's when None.
    """

    def __init__(
        self,
        asn: int,
        router_id: IPv4Address,
        *,
        said: Sequence[Capability] | None = None,
        hold: int = 90,
        password: str | None = None,
        namespace: str | None = None,
        port: int = PORT,
        ttl: int | None = None,
    ) -> None:
        chosen = capabilities(asn) if said is None else tuple(said)
        self._open = Open(asn, hold, router_id, chosen)
        self._password, self._namespace, self._port = password, namespace, port
        self._ttl = ttl
        self._socket: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._sending = threading.Lock()
        self._size, self._wide = messages.SIZE, True
        self.log = Log()
        self.established = threading.Event()

    # --- Connections -----------------------------------------------------------------------------

    def connect(
        self,
        source: str,
        target: str,
        interface: str | None = None,
        *,
        seconds: float = CONNECT,
    ) -> None:
        """Connect and send OPEN; OSError when nobody answers in time. Also again, after an end.

        ``interface``: that of link-local addresses.
        """
        self._end()

        def connected() -> socket.socket:
            made = self._bound(source, 0, target, interface)
            try:
                made.settimeout(seconds)
                made.connect(_name(target, self._port, interface))
            except OSError:
                made.close()
                raise
            made.settimeout(None)
            return made

        self._begin(self._within(connected))

    def establish(
        self, source: str, target: str, interface: str | None = None, *, seconds: float = 20
    ) -> None:
        """Connect until the session stands, as often as it takes; AssertionError if in vain."""
        end = time.monotonic() + (longest := patience(seconds))
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                self.connect(source, target, interface, seconds=min(seconds, CONNECT))
                if self._stands(end - time.monotonic()):
                    return
            time.sleep(RETRY)
        raise AssertionError(f"no session {source} to {target} within {longest:g} s\n{self.log}")

    def listen(self, source: str, peer: str, interface: str | None = None) -> None:
        """Wait for connections of ``peer``, each in place of the one before, until ``close``."""

        def listening() -> socket.socket:
            made = self._bound(source, self._port, peer, interface)
            made.listen(4)
            return made

        self._listener = self._within(listening)
        threading.Thread(target=self._accept, args=(self._listener, peer), daemon=True).start()

    def close(self) -> None:
        """End the session and the waiting for one, without a word."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener)
            listener.close()
        self._end()

    def cease(self, subcode: int = messages.SHUTDOWN, data: bytes = b"") -> None:
        """End the session with a NOTIFICATION; a listener goes on."""
        self.send(messages.encode_notification(Notification(messages.CEASE, subcode, data)))
        self._end()

    # --- What is said ----------------------------------------------------------------------------

    def announce(self, *routes: Route) -> None:
        """Send routes as they are, in their order."""
        self.send(*messages.updates(routes, size=self._size, wide=self._wide))

    def announce_all(self, like: Route, prefixes: Iterable[str]) -> None:
        """Send prefixes of one family with the same attributes, packed."""
        self.send(*messages.announcements(like, prefixes, size=self._size, wide=self._wide))

    def withdraw(self, *prefixes: str) -> None:
        """Take routes back."""
        self.send(*messages.withdrawals(prefixes, size=self._size))

    def end_of_rib(self, *families: int) -> None:
        """Say that all routes of these families have been said."""
        self.send(*(messages.end_of_rib(version) for version in families or (4, 6)))

    def refresh(self, *families: int) -> None:
        """Ask for all routes of these families again."""
        asked = (RouteRefresh(version) for version in families or (4, 6))
        self.send(*(messages.encode_refresh(each) for each in asked))

    def send(self, *said: bytes) -> None:
        """Send messages as they are; OSError when the connection is gone."""
        connection = self._socket
        if connection is None:
            raise ConnectionError("no session")
        with self._sending:
            connection.sendall(b"".join(said))

    # --- Within ----------------------------------------------------------------------------------

    def _stands(self, seconds: float) -> bool:
        """Whether the new session is established, rather than ended, within so many seconds."""
        reader = self._reader
        end = time.monotonic() + seconds
        while not self.established.wait(RETRY):
            if reader is None or not reader.is_alive() or time.monotonic() > end:
                return False
        return True

    def _within(self, call: Callable[[], T]) -> T:
        """What a call yields in the speaker's namespace."""
        return call() if self._namespace is None else inside(self._namespace, call)

    def _bound(self, source: str, port: int, peer: str, interface: str | None) -> socket.socket:
        version = socket.AF_INET6 if ":" in source else socket.AF_INET
        made = socket.socket(version, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SEND, 0))
        if self._ttl is not None and version == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, self._ttl)
        elif self._ttl is not None:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, self._ttl)
        if self._password is not None:
            sign(made, peer, self._password)
        made.bind(_name(source, port, interface))
        return made

    def _accept(self, listener: socket.socket, peer: str) -> None:
        while True:
            try:
                made, (address, *_) = listener.accept()
            except OSError:
                return
            if address.split("%")[0] != peer:
                made.close()
                continue
            self._end()
            self._begin(made)

    def _begin(self, made: socket.socket) -> None:
        self.established.clear()
        self._size, self._wide = messages.SIZE, True
        self._socket = made
        self.log.add(Opened())
        with contextlib.suppress(OSError):  # the reader tells of it
            made.sendall(messages.encode_open(self._open))
        self._reader = threading.Thread(target=self._read, args=(made,), daemon=True)
        self._reader.start()

    def _end(self) -> None:
        connection, self._socket = self._socket, None
        self.established.clear()
        if connection is not None:
            _shut(connection)
        if self._reader is not None and self._reader is not threading.current_thread():
            self._reader.join(CONNECT)

    def _read(self, connection: socket.socket) -> None:
        """Log what comes in until the connection ends; send a KEEPALIVE when one is due."""
        reason = ""
        try:
            self._read_on(connection)
        except OSError as error:
            reason = str(error)
        if self._socket is connection:
            self.established.clear()
        connection.close()
        self.log.add(Closed(reason))

    def _read_on(self, connection: socket.socket) -> None:
        readable = select.poll()
        readable.register(connection, select.POLLIN)
        buffer = bytearray()
        interval = _interval(self._open.hold)
        due = time.monotonic() + interval
        while True:
            left = due - time.monotonic()
            if readable.poll(None if left == math.inf else max(left, 0) * 1000):
                chunk = connection.recv(1 << 18)
                if not chunk:
                    return
                buffer += chunk
            for kind, body in _taken(buffer):
                heard = messages.decode(kind, body, self._wide)
                if isinstance(heard, Open):
                    interval = _interval(min(self._open.hold, heard.hold))
                    due = time.monotonic() + interval
                    self._agree(heard)
                    self._keep_alive(connection)
                self.log.add(heard)
                if isinstance(heard, Keepalive):
                    self.established.set()
            if time.monotonic() >= due:
                self._keep_alive(connection)
                due = time.monotonic() + interval

    def _agree(self, heard: Open) -> None:
        """What both can do holds from now on."""

        def both(code: int) -> bool:
            return heard.can(code) and self._open.can(code)

        self._wide = both(messages.WIDE_ASN)
        extended = both(messages.EXTENDED_MESSAGE)
        self._size = messages.EXTENDED_SIZE if extended else messages.SIZE

    def _keep_alive(self, connection: socket.socket) -> None:
        # Whoever holds the lock is sending, which keeps the session alive as well; waiting for it
        # would leave what comes in unread, and the other's own sending stuck.
        if self._sending.acquire(blocking=False):
            try:
                connection.sendall(messages.message(messages.KEEPALIVE))
            finally:
                self._sending.release()


def _name(address: str, port: int, interface: str | None) -> Name:
    """An address of a socket, from within its namespace."""
    if ":" not in address:
        return address, port
    return address, port, 0, 0 if interface is None else socket.if_nametoindex(interface)


def _interval(hold: int) -> float:
    """Seconds between two KEEPALIVEs; without a hold time there are none (RFC 4271 section 4.4)."""
    return hold / 3 or math.inf


def _shut(connection: socket.socket) -> None:
    """End a connection, and whatever waits for it."""
    with contextlib.suppress(OSError):  # it was over
        connection.shutdown(socket.SHUT_RDWR)


def _taken(buffer: bytearray) -> Iterable[tuple[int, bytes]]:
    """Take the complete messages off the front of a buffer: type and body of each."""
    at = 0
    while len(buffer) - at >= messages.HEADER:
        end = at + max(int.from_bytes(buffer[at + 16 : at + 18], "big"), messages.HEADER)
        if end > len(buffer):
            break
        yield buffer[at + 18], bytes(buffer[at + messages.HEADER : end])
        at = end
    del buffer[:at]
