"""A port of this machine that leads into a node of the lab, for a browser."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from mesh.cli.glass_doors import LOOPBACK, Door
from mesh.netns import NamespaceError, inside

MOST = 32
"""Connections at a time."""
CONNECT, IDLE = 5.0, 60.0
"""Seconds for a connection, and without a byte until it ends."""
PIECE = 1 << 16


@dataclass
class Relay:
    """Takes connections at ``port`` of loopback, and passes them on to the glass of a node."""

    door: Door
    port: int
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST))

    def serve(self, ready: Callable[[], None]) -> None:
        """Until it is interrupted; calls ``ready`` once it listens. OSError where the port is
        taken."""
        with socket.create_server(("127.0.0.1", self.port), backlog=MOST) as listening:
            ready()
            while True:
                taken, _ = listening.accept()
                self._places.acquire()
                threading.Thread(target=self._pass_on, args=(taken,), daemon=True).start()

    def _pass_on(self, taken: socket.socket) -> None:
        try:
            with ExitStack() as held, suppress(OSError, NamespaceError):
                held.enter_context(taken)
                # The socket stays in the namespace in which it was made.
                to = held.enter_context(inside(self.door.namespace, self._connected))
                answers = threading.Thread(target=_copy, args=(to, taken), daemon=True)
                answers.start()
                _copy(taken, to)
                answers.join()
        finally:
            self._places.release()

    def _connected(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.door.port), CONNECT)


def _copy(source: socket.socket, target: socket.socket) -> None:
    """All bytes of one side to the other, and then its end."""
    with suppress(OSError):
        source.settimeout(IDLE)
        while piece := source.recv(PIECE):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
