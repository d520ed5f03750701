"""Answers ``GET /whoami`` on port 80 with its argument, as a node's own service does."""

from __future__ import annotations

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One answer to everything."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{sys.argv[1]}\n".encode())


class DualStack(ThreadingHTTPServer):
    """Both families on one socket."""

    address_family = socket.AF_INET6


if __name__ == "__main__":
    DualStack(("::", 80), Handler).serve_forever()
