"""A registry as it is in production: uvicorn, TLS, SQLite; here on the loopback address."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, cached_property
from ipaddress import IPv4Address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from mesh.agent import bundle
from mesh.facts import Facts, Placement
from mesh.plan import Plan
from mesh.publish import Instance, Member, Order, registry_pool
from mesh.publish.expected import tunnel_session
from mesh.publish.generation import SignedGeneration, make
from mesh.publish.identity import former_name
from mesh.registry import serve
from mesh.registry.client import Client
from mesh.registry.registry import Registry
from mesh.registry.serve import Settings
from mesh.registry.store import Store
from mesh.render import placeholder_facts
from mesh.trust import joining, keys, signing
from mesh.trust.documents import Health, Planned, PlannedNode, Report
from mesh.trust.encoding import dump
from mesh.trust.requests import Signer
from mesh.trust.signing import Purpose, Signed
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE, until

PLACES = {
    "lax-vultr-1": "127.0.0.1",
    "ord-vultr-1": "127.0.0.2",
    "mia-vultr-1": "127.0.0.3",
    "ewr-vultr-1": "127.0.0.4",
}
"""Where the nodes of the tests ask from."""


BUNDLE = b"a bundle"
DATABASE = "registry.sqlite3"


@dataclass
class Fleet:
    """An operator, a plan, and nodes that exist as keys and facts only."""

    plan: Plan = field(default_factory=lambda: plan_of(prod()))
    key: str = field(default_factory=lambda: keys.new_operator_key()[0])

    def __post_init__(self) -> None:
        stand_ins = placeholder_facts(self.plan)
        self.identities = {node: keys.new_signing_key()[0] for node in stand_ins}
        self.sealing = {node: keys.new_exchange_key() for node in stand_ins}
        others = sorted(stand_ins.keys() - PLACES.keys())
        self.places = PLACES | {node: f"127.0.1.{i}" for i, node in enumerate(others, 1)}
        self.facts: dict[str, Facts] = {
            node: replace(
                facts,
                instance_id=f"i-{node}",
                ipv4=IPv4Address(self.places[node]),
                identity=keys.signing_public(self.identities[node]),
                sealing=self.sealing[node][1],
            )
            for node, facts in stand_ins.items()
        }

    @property
    def operator(self) -> Signer:
        return Signer("operator", "", self.key)

    def node(self, node: str) -> Signer:
        return Signer("node", node, self.identities[node])

    def candidate(self, node: str) -> Signer:
        return Signer("token", node, joining.proof_private(self.token(node)))

    def token(self, node: str) -> str:
        return keys.join_token(self.key, node)

    def planned(self) -> Planned:
        return Planned(
            {
                node: PlannedNode(
                    self.plan.node(node).region,
                    (facts.ipv4,),
                    joining.proof_public(self.token(node)),
                )
                for node, facts in self.facts.items()
            }
        )

    def order(self, **changed: Any) -> Order:
        values: dict[str, Any] = {
            "plan": self.plan,
            "operator_key": self.key,
            "passwords": {"vultr": "hunter2-of-the-session"},
            "instances": {
                node: Instance(
                    f"i-{node}",
                    datetime.now(UTC).isoformat(),
                    self.token(node),
                    Placement(facts.ipv4, facts.ipv6),
                )
                for node, facts in self.facts.items()
            },
            "bundle": BUNDLE,
            "settle": 0.0,
            "registries": {"lax-vultr-1": "https://127.0.0.1:8443"},
        }
        return Order(**(values | changed))

    def members(self) -> dict[str, Member]:
        return {n: Member(f.instance_id, f.identity, f) for n, f in self.facts.items()}

    @property
    def network(self) -> str:
        return former_name(self.plan.asn, self.plan.stack)

    def generation(
        self, number: int, network: str | None = None, **changed: Any
    ) -> SignedGeneration:
        return make(self.order(**changed), self.members(), number, network or self.network)

    @cached_property
    def fifth(self) -> SignedGeneration:
        """Generation 5, which most registries of tests begin with: rendered once."""
        return self.generation(5)

    @cached_property
    def seventh(self) -> SignedGeneration:
        """Generation 7, which is in force where no registry is asked: rendered once."""
        return self.generation(7)

    @cached_property
    def database(self) -> bytes:
        """The database of a registry to which the operator has brought the list of planned nodes
        and generation 5."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            with (
                live(folder, keys.signing_public(self.key), BUNDLE) as one,
                one.client(self.operator) as client,
            ):
                assert client.ask("PUT", "/api/v1/planned", dump(self.planned()), signed=True).ok
                body = dump(self.fifth.generation)
                packed = client.ask("PUT", "/api/v1/generation/packed", body, signed=True)
                assert packed.status == 201
            return (folder / DATABASE).read_bytes()

    def join(self, node: str) -> bytes:
        return dump(joining.join_request(self.token(node), node, self.facts[node]))

    def report(
        self, node: str, made: SignedGeneration, sequence: int = 1, **changed: Any
    ) -> Signed:
        values: dict[str, Any] = {
            "node": node,
            "generation": made.manifest.generation,
            "manifest_sha256": made.digest,
            "nonce": made.manifest.nonce,
            "outcome": "applied",
            "reason": "",
            "applied": made.manifest.generation,
            "sequence": sequence,
            "bundle": made.manifest.bundle,
            "health": self.well(node),
        }
        report = Report(**(values | changed))
        return signing.signed_document(self.identities[node], Purpose.REPORT, report)

    def well(self, node: str, **changed: Any) -> Health:
        """The health of a node on which all is up; ``changed`` are other values of it."""
        planned = self.plan.node(node)
        names = [tunnel_session(link.peer) for link in planned.links]
        names += [session.name for session in planned.ibgp]
        names += [session.name for session in planned.upstreams]
        values: dict[str, Any] = {
            "in_service": True,
            "services": {"web": True},
            "sessions": dict.fromkeys(names, "Established"),
            "bird": "",
            "announced": {
                session.name: tuple(
                    prefix
                    for prefix in self.plan.announced_by(node)
                    if f"ipv{prefix.version}" == session.family
                )
                for session in planned.upstreams
            },
            "tunnels": {},
        }
        return Health(**(values | changed))


@dataclass
class Live:
    """A registry that listens."""

    url: str
    port: int
    registry: Registry

    def client(self, signer: Signer | None = None) -> Client:
        return Client(self.url, signer, PATIENCE)

    def raw(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        source: str = "127.0.0.1",
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """A request just as it is written down here, from a given address."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PATIENCE, context=context, source_address=(source, 0)
        )
        try:
            connection.request(method, target, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read(), dict(response.headers)
        finally:
            connection.close()

    def memory(self) -> dict[str, Any]:
        """All that it holds, to see that a refused request changed nothing."""
        store = self.registry.store
        highest = store.highest()
        return {
            "counts": store.counts(),
            "highest": highest,
            "planned": store.planned(),
            "joins": store.joins(),
            "reports": store.reports(),
        }


@cache
def shared_fleet() -> Fleet:
    """The seed's, for tests that change nothing of it: its plan, keys and generations are made
    once in each process."""
    return Fleet()


@contextmanager
def live(folder: Path, operator_public: str, bundle_: bytes | None = None) -> Iterator[Live]:
    """A registry over a fresh or an existing database in that folder. It has this process's threads
    beside it: an operator here waits for its connections, and not for one of production's seconds.
    """
    if not (folder / "tls.crt").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _certificate().items():
            (folder / name).write_bytes(content)
    database = folder / DATABASE
    if not database.exists():
        database.write_bytes(_nothing())
    registry = Registry(Store(f"sqlite:///{database}"), operator_public, bundle_)
    where = Settings(folder, operator_public, 0, "", ("127.0.0.1",))
    server = serve.server(where, registry)
    sockets = serve.sockets(where)
    port = sockets[0].getsockname()[1]
    ended = Future[None]()
    thread = threading.Thread(
        target=asyncio.run, args=[_serve(server, sockets, ended)], daemon=True
    )
    thread.start()
    until(lambda: server.started, 10, "the registry has started", nap=0.01)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry_pool, "CONNECT_SECONDS", PATIENCE)
            patch.setattr(registry_pool, "HURRIED", (PATIENCE,))
            yield Live(f"https://127.0.0.1:{port}", port, registry)
    finally:
        ended.set_result(None)
        thread.join(PATIENCE)
        registry.store.close()


async def _serve(
    server: serve.RegistryServer, sockets: list[socket.socket], ended: Future[None]
) -> None:
    """As uvicorn does, which looks every tenth of a second whether it is to end, and then waits for
    another: many tests have a registry each."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup(sockets)
    ticking = asyncio.ensure_future(server.main_loop())
    await asyncio.wrap_future(ended)
    ticking.cancel()
    for each in server.servers:
        each.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()


@contextmanager
def holding(folder: Path, fleet: Fleet) -> Iterator[Live]:
    """A registry that holds the list of planned nodes and generation 5 of a fleet."""
    (folder / DATABASE).write_bytes(fleet.database)
    with live(folder, keys.signing_public(fleet.key), BUNDLE) as one:
        yield one


@cache
def _certificate() -> dict[str, bytes]:
    """Key and certificate of the registries that need none of their own, by file."""
    with TemporaryDirectory() as name:
        certify(Path(name))
        return {path.name: path.read_bytes() for path in Path(name).iterdir()}


@cache
def _nothing() -> bytes:
    """The database of a registry that has heard of nothing: its tables take longest to make."""
    with TemporaryDirectory() as name:
        path = Path(name) / DATABASE
        Store(f"sqlite:///{path}").close()
        return path.read_bytes()


def certify(folder: Path) -> None:
    """Key and certificate, as the bootstrap makes them."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "10", "-subj", "/CN=test"]  # fmt: skip
    paths = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run([*command, *paths], check=True, capture_output=True)


def built() -> bytes:
    """The bundle of this checkout."""
    return bundle.build()
