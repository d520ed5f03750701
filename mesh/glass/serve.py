"""Serves the looking glass of a node (``bundle.pyz glass``).

It listens at loopback, at the node's tunnel addresses and at its own announced ones; a public one
at those of its services as well. A changed configuration is read at the next start: the agent
restarts it.
"""

from __future__ import annotations

import json
import socketserver
import sys
import threading
import time
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from mesh.glass import exchange
from mesh.glass.access import Access
from mesh.glass.connections import BoundedServer, Connections, Servers
from mesh.glass.network import Network
from mesh.trust.encoding import adapter

if TYPE_CHECKING:
    from mesh.glass.site import Site

AT_ONCE, STRANGERS = 32, 16
"""Connections at the addresses that the mesh alone reaches, and at those that may be public: the
public takes no place of the mesh's. Each may have two threads."""
AGAIN = 1.0
"""Seconds until an address that could not be had is tried again."""
LOADS = 5.0
"""Seconds after which it loads what answers, unless it is asked before: that is most of its start,
and a node that boots needs its processor for its first configuration."""


class Unreadable(Exception):
    """Why the glass does not know its network."""


class GlassServer(BoundedServer):
    """The glass at one address; what it answers may change while it listens."""

    def __init__(self, glass: Glass, address: str, connections: Connections) -> None:
        self.glass = glass
        super().__init__("", address, glass.port, Visit, connections)


class Visit(socketserver.StreamRequestHandler):
    """Answers one request."""

    server: GlassServer

    def handle(self) -> None:
        """Reads a request, and writes its response."""
        site = self.server.glass.site()
        local, source = ip_address(self.server.address), ip_address(self.client_address[0])
        with_body = True
        try:
            request = exchange.read(self.rfile)
            with_body = request.method != "HEAD"
            response = site.answer(request, source, local)
        except exchange.Malformed as error:
            response = site.malformed(error)
        except exchange.Hangup:
            return
        except OSError:
            raise  # the client
        except Exception as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            response = site.failed()
        self.wfile.write(response.written(with_body))


class Glass:
    """The glass of the node that the agent's configuration names, with all its servers. Raises
    :class:`Unreadable`."""

    def __init__(self, network: Path, agent: Path, snapshot: Path, control: Path) -> None:
        self._connections, self._strangers = Connections(AT_ONCE), Connections(STRANGERS)
        try:
            planned = adapter(Network).validate_json(network.read_bytes())
            here = planned.by_id[json.loads(agent.read_bytes())["node"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unreadable(f"{network}, {agent}: {_line(error)}") from None
        self._access, self._snapshot, self._control = Access(planned, here), snapshot, control
        self._site: Site | None = None
        self._making = threading.Lock()
        self.port, self._wanted = planned.port, self._access.listens()
        self._servers = Servers(self._made, self.port)

    def site(self) -> Site:
        """What answers, loaded when it is first needed."""
        with self._making:
            if self._site is None:
                self._site = self._loaded()
            return self._site

    def _loaded(self) -> Site:
        from mesh.glass.answering import Answering
        from mesh.glass.bird import Control
        from mesh.glass.lookup import Lookup
        from mesh.glass.site import Site
        from mesh.glass.snapshots import SnapshotFile

        planned, here = self._access.network, self._access.here
        lookup = Lookup(planned, here, Control(self._control))
        answering = Answering(planned, here, SnapshotFile(self._snapshot, here.id), lookup)
        return Site(self._access, answering)

    def listen(self) -> bool:
        """Listens as the files say; whether all addresses could be had."""
        return self._servers.listen(self._wanted)

    def close(self) -> None:
        """Listens no more."""
        self._servers.close()

    def _made(self, address: str) -> GlassServer:
        is_inside = self._access.is_inside(ip_address(address))
        return GlassServer(self, address, self._connections if is_inside else self._strangers)


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return f"{type(error).__name__}: {error}"


def serve(network: Path, agent: Path, snapshot: Path, control: Path) -> None:
    """Serves for ever. ``network`` is glass.json and ``agent`` the agent's configuration, which
    names this node; ``snapshot`` is the agent's file, ``control`` BIRD's restricted socket."""
    try:
        glass = Glass(network, agent, snapshot, control)
    except Unreadable as error:
        sys.exit(str(error))
    while not glass.listen():
        time.sleep(AGAIN)
    time.sleep(LOADS)
    glass.site()
    threading.Event().wait()
