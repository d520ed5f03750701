"""Answers ``GET /whoami`` on port 80 with the node's name, for clients of the anycast address.

Open to the Internet: limited to a fixed number of threads and a few seconds for a request. A new
connection replaces the oldest one, so that slow clients do not block the service's health check.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PORT = 80
AT_ONCE = 256
SECONDS = 5.0
"""From the connection to the end of its request."""


class WhoamiServer(ThreadingHTTPServer):
    """HTTP on both families; above :data:`AT_ONCE` connections the oldest is closed."""

    daemon_threads = True
    # A burst waits some tenths of a second for threads; with a full queue a client retries after a
    # second, too late for a health check.
    request_queue_size = 1024

    def __init__(self, node: str, port: int = PORT) -> None:
        self.node = node
        self._slots = threading.BoundedSemaphore(AT_ONCE)
        self._deadlines: dict[socket.socket, float] = {}  # monotonic seconds, oldest first
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
        try:
            super().__init__(("::", port), Whoami)
        except OSError:
            # No IPv6.
            self.address_family = socket.AF_INET
            super().__init__(("", port), Whoami)

    def server_bind(self) -> None:
        """Accepts IPv4 on the same socket."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's, which looks our own name up.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.node, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handles a request in a thread; closes the oldest connection if all slots are in use."""
        if not self._slots.acquire(blocking=False):
            self._close_oldest()
            # Its thread sees the end of the connection at once.
            self._slots.acquire()
        with self._lock:
            self._deadlines[request] = time.monotonic() + SECONDS
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Releases the slot in any case."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection; no other thread closes it from here on."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Closes connections past their deadline; called twice a second."""
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

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs nothing when a client disconnects."""


class Whoami(BaseHTTPRequestHandler):
    """Answers one request."""

    server: WhoamiServer
    server_version, sys_version = "whoami", ""

    def do_GET(self) -> None:
        """The node's name under ``/whoami``, nothing under any other."""
        known = self.path == "/whoami"
        body = f"{self.server.node}\n".encode() if known else b""
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs no requests."""


def serve(config: Path) -> None:
    """Serves for ever; the name comes from the agent's configuration."""
    WhoamiServer(str(json.loads(config.read_text())["node"])).serve_forever()
