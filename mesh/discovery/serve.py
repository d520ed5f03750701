"""The registry as a process: uvicorn over TLS, on both families."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mesh.discovery.api import application
from mesh.discovery.limits import Waiting
from mesh.discovery.registry import Registry, parsed_address
from mesh.discovery.store import Store

CONNECTIONS = 4096
PER_SOURCE = 128
PATIENCE = 120.0
"""Seconds within which a connection has to come to the end of an exchange: longer than a long-poll
and than the time that a body may take."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a registry lives. ``database`` is SQLAlchemy's URL."""

    folder: Path
    operator: str
    port: int
    database: str
    addresses: tuple[str, ...] = ("0.0.0.0", "::")  # noqa: S104  the firewall says from where


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
    """Serves until it is told to stop. ``bundle`` is the one that we run from, for other nodes."""
    os.umask(0o077)
    where.folder.mkdir(parents=True, exist_ok=True)
    registry = Registry(Store(where.database), where.operator, bundle)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * CONNECTIONS), hard))
    server(where, registry).run(sockets=sockets(where))


def server(where: Settings, registry: Registry) -> uvicorn.Server:
    """Uvicorn with what strangers may do to it bounded. No forwarded header is ever believed."""
    return uvicorn.Server(
        uvicorn.Config(
            application(registry),
            ssl_keyfile=str(where.folder / "tls.key"),
            ssl_certfile=str(where.folder / "tls.crt"),
            proxy_headers=False,
            server_header=False,
            date_header=False,
            access_log=False,
            log_level="warning",
            lifespan="off",
            loop="asyncio",
            http=guarded(Waiting(PER_SOURCE, CONNECTIONS)),
            ws="none",
            limit_concurrency=CONNECTIONS,
            h11_max_incomplete_event_size=16384,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
    )


def guarded(held: Waiting) -> type[asyncio.Protocol]:
    """Uvicorn's HTTP for strangers: a few connections of each source, and none that ends nothing.

    By itself it keeps a connection for ever on which no request comes, or no answer is read; one
    host could hold all there are.
    """

    class Guarded(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._end: asyncio.TimerHandle | None = None
            address = parsed_address(transport.get_extra_info("peername")[0])
            self._source = address if held.enter(address) else None
            if self._source is None:
                transport.abort()
            else:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            if self._end is not None:
                self._end.cancel()
            if self._source is not None:
                held.leave(self._source)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait()

        def _wait(self) -> None:
            if self._end is not None:
                self._end.cancel()
            self._end = self.loop.call_later(PATIENCE, self.transport.abort)

    return Guarded


def sockets(where: Settings) -> list[socket.socket]:
    """A listening socket of each family that this machine has."""
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
