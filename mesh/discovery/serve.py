"""The registry as a process: uvicorn over TLS, on both families."""

from __future__ import annotations

import json
import os
import resource
import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from mesh.discovery.api import application
from mesh.discovery.registry import Registry
from mesh.discovery.store import Store

CONNECTIONS = 4096


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
            http="h11",
            ws="none",
            limit_concurrency=CONNECTIONS,
            h11_max_incomplete_event_size=16384,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )
    )


def sockets(where: Settings) -> list[socket.socket]:
    """A listening socket of each family that this machine has."""
    listening: list[socket.socket] = []
    for address in where.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            one = socket.socket(family, socket.SOCK_STREAM)
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
