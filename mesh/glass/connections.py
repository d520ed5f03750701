"""HTTP servers that are open to strangers: a fixed number of threads, and a few seconds for each
connection. A new connection replaces the oldest one, so that slow clients block nobody.
"""

from __future__ import annotations

import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from socketserver import BaseRequestHandler, TCPServer, ThreadingMixIn
from typing import Any

AT_ONCE = 256
"""Connections of all addresses together."""
SECONDS = 5.0
"""From the connection to the end of its request."""
EVERYWHERE = "::"
"""The address that stands for all, of both families."""
_EVERYWHERE4 = str(IPv4Address(0))
_FREEBIND4, _FREEBIND6 = (socket.SOL_IP, 15), (socket.IPPROTO_IPV6, 78)
"""IP_FREEBIND and IPV6_FREEBIND (ip(7), linux/in6.h): the address may come later."""


def everywhere() -> tuple[str, ...]:
    """The addresses that stand for all: OpenBSD's sockets have one family each (ip6(4))."""
    return (EVERYWHERE,) if sys.platform == "linux" else (_EVERYWHERE4, EVERYWHERE)


class Connections:
    """The open connections of all servers; above ``at_once`` the oldest is closed."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._slots = threading.BoundedSemaphore(at_once)
        self._deadlines: dict[socket.socket, float] = {}  # monotonic seconds, oldest first
        self._lock = threading.Lock()

    def add(self, connection: socket.socket) -> None:
        """Makes room for a connection, and waits for it."""
        if not self._slots.acquire(blocking=False):
            self._close_oldest()
            # Its thread sees the end of the connection at once.
            self._slots.acquire()
        with self._lock:
            self._deadlines[connection] = time.monotonic() + SECONDS

    def release(self) -> None:
        """A connection's thread has ended."""
        self._slots.release()

    def closing(self, connection: socket.socket) -> None:
        """No other thread closes this connection from here on."""
        with self._lock:
            self._deadlines.pop(connection, None)

    def close_late(self) -> None:
        """Closes connections past their deadline."""
        while self._close_oldest(until=time.monotonic()):
            pass

    def _close_oldest(self, until: float = math.inf) -> bool:
        """Ends the oldest connection if its deadline is before ``until``; whether it did."""
        with self._lock:
            oldest = next(iter(self._deadlines), None)
            if oldest is None or self._deadlines[oldest] > until:
                return False
            del self._deadlines[oldest]
            with suppress(OSError):  # the client was quicker
                oldest.shutdown(socket.SHUT_RDWR)
        return True


class BoundedServer(ThreadingMixIn, TCPServer):
    """HTTP at one address, or at all of both families; ``name`` is the node's."""

    daemon_threads = True
    # A burst waits some tenths of a second for threads; with a full queue a client retries after a
    # second, too late for a health check.
    request_queue_size = 1024

    def __init__(
        self,
        name: str,
        address: str,
        port: int,
        handler: type[BaseRequestHandler],
        connections: Connections | None = None,
    ) -> None:
        self.name, self.address = name, address
        self.connections = connections or Connections()
        has_ipv6 = socket.has_ipv6 and ip_address(address).version == 6
        self.address_family = socket.AF_INET6 if has_ipv6 else socket.AF_INET
        try:
            super().__init__((address, port), handler)
        except OSError:
            if address != EVERYWHERE:
                raise
            # No IPv6.
            self.address_family = socket.AF_INET
            super().__init__(("", port), handler)

    def server_bind(self) -> None:
        """Accepts IPv4 on the socket of all addresses; one address need not be there yet."""
        if self.address == EVERYWHERE:
            if self.address_family == socket.AF_INET6:
                alone = everywhere() != (EVERYWHERE,)
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, alone)
        elif sys.platform == "linux":
            is_6 = self.address_family == socket.AF_INET6
            self.socket.setsockopt(*(_FREEBIND6 if is_6 else _FREEBIND4), 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handles a request in a thread; closes the oldest connection if all slots are in use."""
        self.connections.add(request)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self.connections.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Releases the slot in any case."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.release()

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection; no other thread closes it from here on."""
        self.connections.closing(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Closes connections past their deadline; called twice a second."""
        self.connections.close_late()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs nothing when a client disconnects."""


class Servers:
    """A server at each of several addresses, each in a thread: ``make`` makes one that
    listens at an address, at ``port``."""

    def __init__(self, make: Callable[[str], BoundedServer], port: int) -> None:
        self._make, self._port = make, port
        self._servers: dict[str, BoundedServer] = {}
        self._refused: dict[str, str] = {}

    def listen(self, wanted: Collection[str]) -> bool:
        """Listens at these addresses; whether all could be had. What is not wanted any more is
        closed before the rest is opened, and what stays is kept."""
        for address in set(self._servers) - set(wanted):
            self._end(self._servers.pop(address))
        for address in wanted:
            if address not in self._servers:
                self._listen(address)
        return all(address in self._servers for address in wanted)

    def close(self) -> None:
        """Closes all."""
        # Each takes half a second to see that it ends.
        ends = [
            threading.Thread(target=self._end, args=(server,)) for server in self._servers.values()
        ]
        for thread in ends:
            thread.start()
        for thread in ends:
            thread.join()
        self._servers.clear()

    def _listen(self, address: str) -> None:
        try:
            server = self._make(address)
        except OSError as error:
            why = error.strerror or str(error)
            if self._refused.get(address) != why:  # It is tried again each second, and said once.
                print(f"[{address}]:{self._port}: {why}", file=sys.stderr, flush=True)
            self._refused[address] = why
            return
        self._refused.pop(address, None)
        self._servers[address] = server
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def _end(self, server: BoundedServer) -> None:
        server.shutdown()
        server.server_close()
