"""The registry as a process: uvicorn over TLS, on both families."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import resource
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn

from mesh.registry.api import application
from mesh.registry.connections import MEMBERS, Connections
from mesh.registry.known_networks import KnownNetworks
from mesh.registry.registry import Registry
from mesh.registry.store import Store
from mesh.registry.tls import IDLE, Accepted
from mesh.registry.watchdog import EVERY, Watchdog

TIDY = 30.0
"""Seconds between returns of unused memory to the system."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a registry lives. ``database`` is SQLAlchemy's URL."""

    folder: Path
    operator: str
    port: int
    database: str
    addresses: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104  the firewall limits sources


def settings(seed: Path, folder: Path) -> Settings:
    """The settings of the registry on this node, from its seed."""
    stated = json.loads(seed.read_text())
    return Settings(
        folder=folder,
        operator=str(stated["operator"]),
        port=int(stated["registry_port"]),
        database=f"sqlite:///{folder / 'registry.sqlite3'}",
    )


def serve(where: Settings, bundle: bytes | None) -> None:
    """Serves until it is stopped. ``bundle`` is the one that we run from, for other nodes."""
    os.umask(0o077)
    where.folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(Store(where.database), where.operator, bundle)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * MEMBERS), hard))
    watchdog = Watchdog()
    watchdog.watch()
    made = server(where, registry, watchdog)
    # What is allocated now stays: collecting it again would only take a tenth of a second each
    # time.
    gc.collect()
    gc.freeze()
    made.run(sockets=sockets(where))


def server(where: Settings, registry: Registry, watchdog: Watchdog | None = None) -> RegistryServer:
    """Uvicorn with what strangers may do to it bounded. No forwarded header is ever believed."""
    connections = Connections(KnownNetworks(registry.addresses, registry.admins))
    accepted = partial(Accepted, connections, _context(where))
    return RegistryServer(
        watchdog,
        uvicorn.Config(
            application(registry, connections),
            proxy_headers=False,
            server_header=False,
            date_header=True,  # nodes and operator compare clocks by it
            access_log=False,
            log_level="warning",
            lifespan="off",
            loop="asyncio",
            http=cast(type[asyncio.Protocol], accepted),
            ws="none",
            h11_max_incomplete_event_size=16384,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=1,
        ),
    )


class RegistryServer(uvicorn.Server):
    """Uvicorn with a watchdog's beats, which returns memory after a flood."""

    def __init__(self, watchdog: Watchdog | None, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._watchdog = watchdog

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As ever."""
        await super().startup(sockets)
        self._beside = [asyncio.ensure_future(_tidy())]
        if self._watchdog is not None:
            self._beside.append(asyncio.ensure_future(_beating(self._watchdog)))


async def _beating(watchdog: Watchdog) -> None:
    """Not by uvicorn's own notices, which go by the wall clock: one that is set back stops them."""
    while True:
        await watchdog.beat()
        await asyncio.sleep(EVERY)


async def _tidy() -> None:
    """A connection that is cut leaves cycles, and what Python frees the C library keeps."""
    library = ctypes.CDLL(None)
    while True:
        await asyncio.sleep(TIDY)
        gc.collect()
        library.malloc_trim(0)


def _context(where: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(where.folder / "tls.crt", where.folder / "tls.key")
    # No client resumes sessions.
    context.num_tickets = 0
    return context


def sockets(where: Settings) -> list[socket.socket]:
    """A listening socket for each address family of this machine."""
    listening: list[socket.socket] = []
    for address in where.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            # By the protocol's number asyncio knows TCP and sets TCP_NODELAY: an answer in two
            # writes would else wait 40 ms for the ACK of the first.
            one = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        except OSError:
            continue
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind((address, where.port))
        listening.append(one)
    return listening


def seed_bundle(path: Path) -> bytes | None:
    """The bundle that this process runs from, if it is one."""
    return path.read_bytes() if path.is_file() else None
