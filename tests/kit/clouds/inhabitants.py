"""Simulated nodes of a fake cloud, which know only the user data that the cloud was given.

They are as real as the operator can tell: a registry listens (uvicorn, TLS, SQLite) on the address
of its server, nodes join with the token of their seed from their own addresses, report every
generation as applied and the sessions of its bird.conf as Established, obey drain orders, and
withdraw when they are retired. What they never do is route a packet; the twin does that. So a
cloud whose servers can be met here has to give addresses of 127.0.0.0/8.

    with inhabited(tmp_path, lambda: vultr_servers(cloud)):
        engine.run("up", "--yes", "--skip-preview")
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import yaml

from mesh.agent import file_paths
from mesh.facts import Facts
from mesh.registry import paths, serve
from mesh.registry.client import Client, Unreachable
from mesh.registry.registry import Current, Registry
from mesh.registry.serve import Settings
from mesh.registry.store import Store
from mesh.trust import joining, keys, signing
from mesh.trust.documents import Health, Report
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from mesh.trust.requests import Signer
from mesh.trust.signing import Purpose
from tests.kit.clouds.cloud import Cloud
from tests.kit.registry import certify
from tests.kit.wait import PATIENCE, repeating

TICK = 0.1
SESSION = re.compile(r"^protocol bgp (\w+)", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A machine as its cloud made it. ``inside`` is the address that it holds itself where the
    cloud translates; ``user_data`` is the text that cloud-init reads."""

    instance_id: str
    ipv4: str
    ipv6: str | None
    user_data: str
    inside: str | None = None


def vultr_servers(cloud: Cloud) -> list[Server]:
    """The servers at Vultr."""
    return [
        Server(made.id, made.outputs["mainIp"], made.outputs["v6MainIp"] or None,
               made.inputs["userData"])
        for kind in ("Instance", "BareMetalServer")
        for made in cloud.of(kind)
    ]  # fmt: skip


@dataclass
class Mood:
    """What goes wrong. ``silent`` nodes report no generation, ``failing`` ones that they rolled it
    back; ``before_put`` and ``after_put`` are called while a registry takes a generation."""

    silent: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    before_put: Callable[[], None] = lambda: None
    after_put: Callable[[], None] = lambda: None


@dataclass
class Inhabitant:
    """A node on one instance: its keys, and what it has said so far."""

    server: Server
    mood: Mood = field(default_factory=Mood)
    identity: str = field(default_factory=lambda: keys.new_signing_key()[0])
    sealing: str = field(default_factory=lambda: keys.new_exchange_key()[1])
    joined: set[str] = field(default_factory=set)
    """Registries by instance that have its request."""
    heard: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        files = {
            each["path"]: each for each in yaml.safe_load(self.server.user_data)["write_files"]
        }
        self.seed = json.loads(files[str(file_paths.SEED)]["content"])
        self.node: str = self.seed["node"]

    def facts(self) -> Facts:
        """What it says of itself."""
        return Facts(
            instance_id=self.server.instance_id,
            uplink="enp1s0",
            ipv4=IPv4Address(self.server.inside or self.server.ipv4),
            ipv6=IPv6Address(self.server.ipv6) if self.server.ipv6 else None,
            gateway4=IPv4Address("127.0.0.254"),
            gateway6=IPv6Address("fe80::1") if self.server.ipv6 else None,
            mtu=1500,
            bird="2.17.1",
            kernel="6.12.0",
            release="13",
            kernel_wireguard=True,
            wireguard=keys.new_exchange_key()[1],
            identity=keys.signing_public(self.identity),
            sealing=self.sealing,
            tls_sha256=None,
        )

    def join(self, registry: Listening) -> None:
        """Ask to be let in, from its own address."""
        if registry.server.instance_id in self.joined:
            return
        body = dump(joining.join_request(self.seed["token"], self.node, self.facts()))
        connection = http.client.HTTPSConnection(
            registry.server.ipv4, registry.port, timeout=PATIENCE,
            source_address=(self.server.ipv4, 0), context=ssl._create_unverified_context(),
        )  # fmt: skip
        try:
            connection.request("POST", paths.JOIN, body=body)
            if connection.getresponse().status < 300:
                self.joined.add(registry.server.instance_id)
        finally:
            connection.close()

    def report(self, registry: Listening) -> None:
        """Its signed word on what the registry holds now, when that is news."""
        current, drains = registry.registry.current(), registry.registry.standing(DRAIN)
        if current is None or self.node not in current.manifest.nodes:
            return
        if self.node in self.mood.silent:
            return
        if current.manifest.nodes[self.node].identity != keys.signing_public(self.identity):
            return
        order = None if drains is None else drains.order
        failed = self.node in self.mood.failing
        news = (registry.server.instance_id, current.manifest_sha256, order, failed)
        if news == self.heard:
            return
        part = registry.registry.store.part(current.manifest.generation, self.node)
        drained = order is not None and self.node in order.nodes
        retired = current.manifest.retired
        report = Report(
            node=self.node,
            generation=current.manifest.generation,
            manifest_sha256=current.manifest_sha256,
            nonce=current.manifest.nonce,
            outcome="failed" if failed else "withdrawn" if retired else "applied",
            reason="bird refuses" if failed else "",
            applied=current.manifest.generation,
            sequence=time.time_ns() // 1000,
            bundle=current.manifest.bundle,
            health=Health(
                in_service=not drained and not retired,
                services={},
                sessions=dict.fromkeys(sessions(part), "Established"),
                drain=0 if order is None else order.number,
                drained=drained,
            ),
        )
        envelope = signing.signed_document(self.identity, Purpose.REPORT, report)
        with Client(registry.url, Signer("node", self.node, self.identity)) as client:
            if client.ask("POST", paths.REPORT, dump(envelope), signed=True).ok:
                self.heard = news


def sessions(part: str | None) -> list[str]:
    """The BGP sessions of a node by its part of a generation; none where it has none."""
    files = [] if part is None else json.loads(part)["files"]
    text = next((file["content"] for file in files if file["path"] == "/etc/bird/bird.conf"), "")
    return SESSION.findall(text)


class Listening:
    """The registry on a server."""

    def __init__(self, folder: Path, one: Inhabitant) -> None:
        self._mood = one.mood
        self.server, self.port = one.server, int(one.seed["registry_port"])
        self.url = f"https://{one.server.ipv4}:{self.port}"
        certify(folder)
        operator = one.seed["operator"]
        self.registry = Registry(Store(f"sqlite:///{folder / 'registry.sqlite3'}"), operator, None)
        self._accept = self.registry.accept_packed
        setattr(self.registry, "accept_packed", self._take)  # noqa: B010  (mypy refuses it)
        where = Settings(folder, operator, self.port, "", (one.server.ipv4,))
        self._uvicorn = serve.server(where, self.registry)
        sockets = serve.sockets(where)
        self._thread = threading.Thread(
            target=self._uvicorn.run, kwargs={"sockets": sockets}, daemon=True
        )
        self._thread.start()

    def _take(self, body: bytes) -> int:
        self._mood.before_put()
        answer = self._accept(body)
        self._mood.after_put()
        return answer

    def stop(self) -> None:
        """Its server is gone."""
        self._uvicorn.should_exit = True
        self._thread.join(PATIENCE)
        self.registry.store.close()


class Town:
    """All nodes of a cloud."""

    def __init__(self, folder: Path, servers: Callable[[], Iterable[Server]]) -> None:
        self._folder, self._servers = folder, servers
        self.mood = Mood()
        self._nodes: dict[str, Inhabitant] = {}
        self._registries: dict[str, Listening] = {}

    def tick(self) -> None:
        """Whoever is new boots, whoever is gone falls silent, and all say what is news."""
        standing = {server.instance_id: server for server in self._servers()}
        for gone in set(self._nodes) - set(standing):
            del self._nodes[gone]
            if gone in self._registries:
                self._registries.pop(gone).stop()
        for new in set(standing) - set(self._nodes):
            self._nodes[new] = one = Inhabitant(standing[new], self.mood)
            if one.seed["registry"]:
                self._registries[new] = Listening(self._folder / new, one)
        for registry in self._registries.values():
            for node in self._nodes.values():
                # A registry refuses who is not planned yet; it is asked again.
                with suppress(OSError, Unreachable, http.client.HTTPException):
                    node.join(registry)
                    node.report(registry)

    def held(self) -> Current:
        """What the registries hold: the generation of the highest number."""
        every = [registry.registry.current() for registry in self._registries.values()]
        return max(filter(None, every), key=lambda one: one.manifest.generation)

    def part(self, node: str) -> str:
        """The part of a node in what the registries hold, as text."""
        number = self.held().manifest.generation
        every = (one.registry.store.part(number, node) for one in self._registries.values())
        return next(filter(None, every))

    def stop(self) -> None:
        for registry in self._registries.values():
            registry.stop()


@contextmanager
def inhabited(folder: Path, servers: Callable[[], Iterable[Server]]) -> Iterator[Town]:
    """Nodes on all servers that there are, and that come, until the end of the block."""
    town = Town(folder, servers)
    try:
        with repeating(town.tick, TICK):
            yield town
    finally:
        town.stop()
