"""Answers ``GET /whoami`` on port 80 with the node's name, for clients of the anycast address.

Open to the Internet: its connections are bounded (:mod:`mesh.glass.connections`), so that slow
clients do not block the service's health check.

It listens at the addresses that agent.json names, or at all where that names none. SIGHUP makes it
read the file again; sockets of addresses that stay are kept. Where it is started as root, it gives
up root's rights once it listens, and is started anew for other addresses.
"""

from __future__ import annotations

import json
import os
import pwd
import signal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from mesh.glass.connections import (
    EVERYWHERE,
    BoundedServer,
    Connections,
    Servers,
    everywhere,
)

PORT = 80
AGAIN = 1.0
"""Seconds until an address that could not be had is tried again."""


class Whoami(BaseHTTPRequestHandler):
    """Answers one request."""

    server: BoundedServer
    server_version, sys_version = "whoami", ""

    def do_GET(self) -> None:
        """The node's name under ``/whoami``, nothing under any other."""
        known = self.path == "/whoami"
        body = f"{self.server.name}\n".encode() if known else b""
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs no requests."""


class WhoamiServer(BoundedServer):
    """whoami at one address, or at all of both families."""

    def __init__(
        self,
        node: str,
        port: int = PORT,
        address: str = EVERYWHERE,
        connections: Connections | None = None,
    ) -> None:
        super().__init__(node, address, port, Whoami, connections)


class WhoamiServers:
    """The servers of all addresses that the agent's configuration names."""

    def __init__(self, config: Path, port: int = PORT) -> None:
        self._config, self._port = config, port
        self._connections = Connections()
        self._node = ""
        self._servers = Servers(self._made, port)

    def follow(self) -> bool:
        """Listens as the configuration says; whether all its addresses could be had."""
        document = json.loads(self._config.read_text())
        self._node = str(document["node"])
        named = document.get("whoami_at")
        return self._servers.listen(everywhere() if named is None else tuple(map(str, named)))

    def close(self) -> None:
        """Closes all."""
        self._servers.close()

    def _made(self, address: str) -> WhoamiServer:
        return WhoamiServer(self._node, self._port, address, self._connections)


def serve(config: Path, user: str | None = None, port: int = PORT) -> None:
    """Serves for ever; name and addresses come from the agent's configuration. ``user`` is as whom
    it goes on once it listens; None where it was started as that user."""
    # Waited for, not handled: a handler would run in the middle of something else.
    waited = {signal.SIGHUP, signal.SIGALRM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    servers = WhoamiServers(config, port)
    while True:
        listens = servers.follow()
        if listens and user is not None:
            _become(user)
        # A timer, since sigtimedwait(2) is not everywhere, as on OpenBSD.
        signal.setitimer(signal.ITIMER_REAL, 0.0 if listens else AGAIN)
        signal.sigwait(waited)


def _become(user: str) -> None:
    if os.geteuid() == 0:
        found = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(found.pw_gid)
        os.setuid(found.pw_uid)
