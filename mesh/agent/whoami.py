"""Which node answers: ``GET /whoami`` on port 80, for clients of the anycast address.

Open to the world, so it is small: a fixed number of threads, a few seconds for a whole request,
and nothing but the node's name. Whoever asks slowly loses the place to the next one, so a crowd of
slow clients never keeps out a quick one, such as the health check of the service.
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
"""From the connection to the end of its request, however often a byte of it comes."""


class WhoamiServer(ThreadingHTTPServer):
    """HTTP on both families; of more than :data:`AT_ONCE` connections the oldest is hung up on."""

    daemon_threads = True
    # A burst of connections waits some tenths of a second for its threads; what finds the queue
    # full tries again after a whole one, which is too late for a health check.
    request_queue_size = 1024

    def __init__(self, node: str, port: int = PORT) -> None:
        self.node = node
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._deadlines: dict[socket.socket, float] = {}  # monotonic seconds, oldest first
        self._lock = threading.Lock()
        self.address_family = socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET
        try:
            super().__init__(("::", port), Whoami)
        except OSError:
            # A machine without IPv6.
            self.address_family = socket.AF_INET
            super().__init__(("", port), Whoami)

    def server_bind(self) -> None:
        """Takes IPv4 on the same socket."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Not HTTPServer's, which asks the name service for our own name.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.node, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, which takes the place of the oldest where all are taken."""
        if not self._places.acquire(blocking=False):
            self._hang_up_oldest()
            # Its thread reads the end of the connection at once.
            self._places.acquire()
        with self._lock:
            self._deadlines[request] = time.monotonic() + SECONDS
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Gives the place back in any case."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection, which nobody else may hang up on from here on."""
        with self._lock:
            self._deadlines.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Hangs up on whoever is past the deadline; called twice a second."""
        while self._hang_up_oldest(until=time.monotonic()):
            pass

    def _hang_up_oldest(self, until: float = math.inf) -> bool:
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
        """A client that hangs up is not worth a line."""


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
        """No log of who asks."""


def serve(config: Path) -> None:
    """Serves until it is told to stop; the name comes from the agent's configuration."""
    WhoamiServer(str(json.loads(config.read_text())["node"])).serve_forever()
