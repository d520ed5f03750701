"""Whom alerts of a lab reach: an HTTP server in the operator's box that keeps what is posted to it.

    python3 receiver.py FILE PORT ADDRESS…

Standard library only, so that any Python 3 runs it without a path. Each POST is a line of JSON in
FILE: when it came, its path, and its body.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MOST = 2**20
"""Bytes of a body; a longer one is refused."""
PATIENCE = 10.0
"""Seconds for a request."""


class Server(ThreadingHTTPServer):
    """Listens at one address of either family, and appends to a file."""

    daemon_threads = True

    def __init__(self, address: str, port: int, file: Path) -> None:
        self.file, self.writing = file, threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Keeper)

    def keep(self, path: str, body: object) -> None:
        """Append a line."""
        line = json.dumps({"at": time.time(), "path": path, "body": body})
        with self.writing, self.file.open("a") as stream:
            stream.write(f"{line}\n")


class Keeper(BaseHTTPRequestHandler):
    """Keeps what is posted, and answers as a receiver that has taken it."""

    timeout = PATIENCE

    def do_POST(self) -> None:
        """Keep a body of JSON."""
        assert isinstance(self.server, Server)
        try:
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 <= length <= MOST:
                raise ValueError("no length that is taken")
            self.server.keep(self.path, json.loads(self.rfile.read(length)))
        except ValueError:
            self.send_error(400)
            return
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def main(file: str, port: str, *addresses: str) -> None:
    """Serve for ever at each address."""
    servers = [Server(address, int(port), Path(file)) for address in addresses]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
