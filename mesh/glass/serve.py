"""The looking glass's server."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from mesh.glass.network import Network
from mesh.trust.encoding import parse

_FREEBIND = 15
"""``IP_FREEBIND`` of Linux, which IPv6 sockets have as well."""


class _Server(HTTPServer):
    def __init__(self, address: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler, bind_and_activate=False)
        self.socket.setsockopt(socket.SOL_IP, _FREEBIND, 1)
        self.server_bind()
        self.server_activate()

    def server_bind(self) -> None:
        """Without a look-up of the host's name."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address[:2])


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answers ``/health`` alone."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b"ok\n")


def serve(network: Path, agent: Path, snapshot: Path, control: Path) -> None:
    """Serves until the process ends."""
    plan = parse(Network, network.read_bytes())
    node = plan.by_id[json.loads(agent.read_bytes())["node"]]
    addresses = ["127.0.0.1", "::1", *map(str, (*node.tunnel, *node.announced))]
    for server in [_Server(address, plan.port) for address in addresses]:
        threading.Thread(target=server.serve_forever).start()
