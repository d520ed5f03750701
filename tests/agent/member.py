"""One real agent, whole, and its registry over HTTP on loopback. No command of the machine does
anything for it, so it changes nothing here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path

from mesh.agent import file_paths, systems
from mesh.agent.agent import Agent
from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.agent.keys import own_keys
from mesh.agent.packages import PACKAGES
from mesh.agent.seed import Seed
from mesh.agent.state import APPLIED, Applied
from mesh.publish.order_log import latest
from mesh.publish.registry_pool import RegistryPool
from mesh.trust import keys
from mesh.trust.documents import DrainOrder, Report
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN
from tests.kit.registry import Fleet, Live, live

NODE = "lax-vultr-1"


@dataclass
class Member:
    """A node of a fleet, and the registry that it asks. Its part is never applied: what is in force
    on it is a configuration without services."""

    host: Host
    fleet: Fleet
    registry: Live
    desk: RegistryPool

    def agent(self) -> Agent:
        """An agent that runs, as after a start of its unit."""
        operator, token = keys.signing_public(self.fleet.key), self.fleet.token(NODE)
        bundle = self.fleet.fifth.manifest.bundle
        seed = Seed(NODE, (self.registry.url,), operator, bundle, token, False, 8443)
        one = Agent(self.host, seed, systems.of(self.host))
        one._rejected_routes._port = 0
        threading.Thread(target=one.run, daemon=True).start()
        return one

    def order(self, number: int, *nodes: str) -> None:
        """The operator's drain order reaches the registry."""
        order = DrainOrder(self.fleet.network, number, nodes)
        body = dump(DRAIN.signed(self.fleet.key, order))
        with self.registry.client() as client:
            assert client.ask("PUT", "/api/v1/drain", body).ok

    def report(self) -> Report | None:
        """Its last word, by the operator's desk."""
        found = self.desk.reports({NODE: self.fleet.facts[NODE].identity})
        return latest(found).get(NODE)

    def obeyed(self, number: int, *, drained: bool) -> bool:
        """Whether it says that it has obeyed that order."""
        word = self.report()
        return word is not None and (word.health.drain, word.health.drained) == (number, drained)


@contextmanager
def member(folder: Path) -> Iterator[Member]:
    """A member of generation 5."""
    fleet = Fleet()
    host = Host(folder / "node", prefix=("true",))
    own = own_keys(host)
    fleet.identities[NODE] = own.identity
    fleet.facts[NODE] = replace(
        fleet.facts[NODE],
        identity=keys.signing_public(own.identity),
        sealing=keys.exchange_public(own.sealing),
    )
    mates = (IPv4Address("10.10.10.2"),)
    config = Config(NODE, "lax", "dummy0", fleet.plan.prefixes.both(), mates, (), True)
    host.write(file_paths.CONFIG, dump(config), 0o644)
    host.write(APPLIED, dump(Applied(4, "0" * 64, "{}")), 0o600)
    for package in PACKAGES.values():
        host.write(package.file, b"", 0o755)
    with live(folder / "registry", keys.signing_public(fleet.key)) as registry:
        registry.registry.accept_planned(dump(replace(fleet.planned(), network=fleet.network)))
        registry.registry.accept_packed(dump(fleet.fifth.generation))
        desk = RegistryPool(fleet.key, {NODE: registry.url})
        try:
            yield Member(host, fleet, registry, desk)
        finally:
            desk.close()
