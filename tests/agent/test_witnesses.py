"""Three nodes with real daemons examine one another while a rollout order says so: through their
firewalls, their tunnels, and what their provider sends back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pytest

from mesh.lab import namespaces
from mesh.netns import inside
from mesh.publish import Fleet, publish
from mesh.publish.registry_pool import RegistryPool
from mesh.trust.documents import RolloutOrder, Witnessed
from mesh.trust.orders import ROLLOUT
from tests.agent.test_node import LAX, ORD, serves
from tests.kit.machines import GATEWAY, AgentMachine, Network, Wire
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until

pytestmark = [pytest.mark.image, pytest.mark.beside_labs]
MIA = "mia-vultr-1"
T = TypeVar("T")
MESH = {
    f"{name} ipv{version}"
    for name in ("tunnel", "announced", "transit", "detour")
    for version in (4, 6)
}


NO_TRANSIT = """
chain forward {
    type filter hook forward priority -10;
    ip daddr 192.30.120.0/23 drop
    ip6 daddr 2620:71:4000::/48 drop
}
"""
NOTHING_COMES_IN = """
chain prerouting {
    type filter hook prerouting priority -310;
    iifname "enp9s0" ip6 daddr 2620:71:4000::/48 drop
}
"""


@dataclass
class Running:
    """The network, and the number of the last order."""

    network: Network
    boxes: dict[str, AgentMachine]
    fleet: Fleet
    number: int = 0

    def order(self, witnesses: Mapping[str, tuple[str, ...]], *, everyone: bool = False) -> None:
        """The operator names who examines whom."""
        self.number += 1
        network, fleet = self.fleet.network or "", self.fleet
        made = RolloutOrder(
            network, self.number, fleet.generation, fleet.manifest_sha256,
            everyone=everyone, witnesses=dict(witnesses),
        )  # fmt: skip
        assert self._asked(lambda pool: pool.put_order(ROLLOUT, made, self.network.key))

    def witnessed(self) -> dict[str, dict[str, Witnessed]]:
        """What each node reports, by who examines and who is examined."""
        identities = {node: one.identity for node, one in self.fleet.members.items()}
        reports = self._asked(lambda pool: pool.reports(identities))
        return {report.node: report.health.witnessed for report in reports}

    def sees(self, who: str, node: str, expected: set[str]) -> None:
        """One node sees this at another one and nothing else, within a few rounds."""

        def seen() -> set[str]:
            return set(self.witnessed()[who].get(node, Witnessed(0, ("nothing yet",))).seen)

        until(lambda: seen() == expected, 5, f"{who} sees {sorted(expected)} at {node}: {seen()}")

    def _asked(self, ask: Callable[[RegistryPool], T]) -> T:
        order = self.network.order()
        pool = RegistryPool(order.operator_key, order.registries)
        try:
            return inside(order.namespace, lambda: ask(pool))
        finally:
            pool.close()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three nodes in operation; the first one has the only registry."""
    values = prod()
    values["nodes"] = {node: values["nodes"][node] for node in (LAX, ORD, MIA)}
    wire = Wire(tmp_path_factory.mktemp("witnesses"))
    try:
        network = Network(wire, plan_of(values))
        _add_router(wire)
        boxes = {node.id: network.boot(node.id, 10 + node.number) for node in network.plan.nodes}
        fleet, _ = publish(network.order(), None, lambda line: None)
        for box in boxes.values():
            until(partial(serves, box), 20, f"{box.name} serves")
        until(lambda: all(map(stands, boxes.values())), 30, "all sessions are up")
        yield Running(network, boxes, fleet)
    finally:
        wire.close()


def _add_router(wire: Wire) -> None:
    """The provider's router: what a node sends it for the network's prefixes goes back to that
    node, which announces them."""
    space = f"{wire.prefix}-{GATEWAY}"
    namespaces.create([space])
    wire.plug(space, GATEWAY)
    namespaces.sysctl(space, {"ipv6/conf/all/forwarding": "1"})
    lines = [
        line
        for host in (11, 12, 13)
        for line in (
            f"rule add from 2001:db8::{host:x} lookup {host}",
            f"route add 2620:71:4000::/48 via 2001:db8::{host:x} dev enp9s0 table {host}",
        )
    ]
    batch = ["ip", "-n", space, "-6", "-batch", "-"]
    namespaces.run(batch, stdin="\n".join(lines) + "\n")


def stands(box: AgentMachine) -> bool:
    """Whether its sessions with both other nodes are up: by their tunnels, and in each family."""
    return sum("Established" in line for line in box.sessions().values()) == 6


@contextmanager
def ruleset(box: AgentMachine, rules: str) -> Iterator[None]:
    """A node with these rules beside its own for a while."""
    box.path("/run/witnesses.nft").write_text(f"table inet witnesses {{\n{rules}\n}}\n")
    box.run("nft", "-f", "/run/witnesses.nft")
    try:
        yield
    finally:
        box.run("nft", "delete", "table", "inet", "witnesses")


def test_witnesses_see_what_works(mesh: Running) -> None:
    mesh.order({ORD: (LAX, MIA), LAX: (ORD, LAX)})
    mesh.sees(LAX, ORD, MESH)
    mesh.sees(MIA, ORD, MESH)
    mesh.sees(ORD, LAX, MESH | {"registry"})
    assert set(mesh.witnessed()[MIA]) == {ORD}, "and examine nobody else"


def test_what_comes_in_at_a_node_s_uplink_is_seen_by_itself(mesh: Running) -> None:
    box = mesh.boxes[LAX]
    mesh.order({LAX: (LAX,)})
    mesh.sees(LAX, LAX, {"uplink ipv6"})
    with ruleset(box, NOTHING_COMES_IN):
        mesh.sees(LAX, LAX, set())
    mesh.sees(LAX, LAX, {"uplink ipv6"})


def test_a_node_that_passes_nothing_on_keeps_its_sessions_and_is_found_out(mesh: Running) -> None:
    mesh.order({ORD: (LAX, MIA)})
    mesh.sees(LAX, ORD, MESH)
    with ruleset(mesh.boxes[ORD], NO_TRANSIT):
        for witness in (LAX, MIA):
            mesh.sees(witness, ORD, MESH - {"transit ipv4", "transit ipv6"})
        assert stands(mesh.boxes[ORD])
    mesh.sees(LAX, ORD, MESH)


def test_nobody_examines_once_everyone_follows(mesh: Running) -> None:
    mesh.order({ORD: (LAX,)})
    mesh.sees(LAX, ORD, MESH)
    mesh.order({ORD: (LAX,)}, everyone=True)
    until(lambda: not any(mesh.witnessed().values()), 5, "nothing is reported any more")
