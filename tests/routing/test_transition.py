"""A reflector that moves, with the tunnels of a network that has hubs: node by node over the plan
between, with real BIRDs. What a node serves is known to all others at every moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mesh import netns
from mesh.bird.client import Bird
from mesh.lab import namespaces
from mesh.plan import Plan
from mesh.plan.transition import expanded
from tests.kit.machine import BIRDS
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import until
from tests.routing.test_failover import EWR, LAX, MIA, ORD, Mesh

pytestmark = pytest.mark.image
OTHERS = (LAX, ORD, MIA)
NAP = 0.03
"""Seconds between two looks at all nodes: a session that ends is back later than that."""
ROUNDS = 0.6
"""Seconds for which a rollout looks at a node before it goes on: two rounds of its witnesses."""
SERVICE = {4: "192.30.120.100/32", 6: "2620:71:4000::100/128"}


def hubs_at(node: str) -> dict[str, Any]:
    """The seed's network, whose tunnels lead to this node only. None of them is cut here, and BFD
    waits for as long as BIRD may have no processor."""
    values = prod()
    bfd = {"interval": 1000, "multiplier": 20}
    values["tunnels"] = values.get("tunnels", {}) | {"fullMesh": 2, "bfd": bfd}
    return values | {"reflectors": [node]}


class Watch(threading.Thread):
    """Notes which nodes have no way to what Newark serves, until ``stop`` is set."""

    def __init__(self, made: Mesh) -> None:
        super().__init__()
        self._mesh = made
        self.stop = threading.Event()
        self.without: set[str] = set()
        self.looks = 0

    def run(self) -> None:
        while not self.stop.wait(NAP):
            self.without |= {node for node in OTHERS if not reaches(self._mesh, node)}
            self.looks += 1


def reaches(made: Mesh, node: str) -> bool:
    """Whether a node has a way through a tunnel to the service, of both families."""
    found = [
        shown(made.bird(node), f"show route primary {prefix} table services{version}")
        for version, prefix in SERVICE.items()
    ]
    return all("unicast" in text and " on wg-" in text for text in found)


def shown(bird: Bird, command: str) -> str:
    """BIRD's answer. That of BIRD 3 ends in the middle where it reads its configuration again."""

    def whole() -> str | None:
        reply = bird.ask(command)
        return None if reply.error == "Stopped due to reconfiguration" else reply.text

    return until(whole, 10, "a whole answer")


def expected(node: str, plans: dict[str, Plan]) -> set[str]:
    """The sessions of a node that have another end."""
    own, found = plans[node].node(node), set()
    for link in own.links:
        if node in {back.peer for back in plans[link.peer].node(link.peer).links}:
            found.add(f"u_{link.peer.replace('-', '_')}")
    for session in own.ibgp:
        if node in {back.peer for back in plans[session.peer].node(session.peer).ibgp}:
            found.add(session.name)
    return found


def settled(made: Mesh, plans: dict[str, Plan]) -> bool:
    """Whether all sessions with two ends are up."""
    for node in plans:
        states = made.bird(node).sessions()
        if any(states.get(name) != "Established" for name in expected(node, plans)):
            return False
    return True


def roll_out(made: Mesh, plans: dict[str, Plan], plan: Plan, watch: Watch) -> None:
    """A plan goes to one node after the other, each once the sessions of the last one are up and
    all has been looked at some times since."""
    for node in plans:
        made.write(node, plan)
        made.bird(node).configure()
        plans[node] = plan
        until(partial(settled, made, plans), 20, f"sessions are back after {node}")
        looks = watch.looks
        time.sleep(ROUNDS)
        until(lambda seen=looks: watch.looks > seen + 2, 10, "it is looked at")  # type: ignore[misc]


@contextmanager
def watched(made: Mesh) -> Iterator[Watch]:
    watch = Watch(made)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop.set()
        watch.join()


def forward(space: str) -> None:
    """A hub passes on what two other nodes have for each other."""
    settings = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    namespaces.run([*netns.entering(space), "sysctl", "-q", "-w", *settings])


@pytest.fixture(params=BIRDS)
def moving(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Mesh, Plan, Plan]]:
    """Four nodes with the plan before, the plan between and the plan after."""
    before, after = plan_of(hubs_at(LAX)), plan_of(hubs_at(ORD))
    between = expanded(before, after)
    assert between is not None
    with Mesh(before, tmp_path, request.param, wired=between) as made:
        for node in made.plan.nodes:
            forward(made.space(node.id))
        made.serve("add", EWR)
        until(partial(settled, made, dict.fromkeys((*OTHERS, EWR), before)), 30, "all are up")
        until(lambda: all(reaches(made, node) for node in OTHERS), 30, "all know the service")
        yield made, between, after


def test_a_hub_that_moves_hides_nothing_from_anybody(moving: tuple[Mesh, Plan, Plan]) -> None:
    made, between, after = moving
    plans = dict.fromkeys((MIA, EWR, LAX, ORD), made.plan)
    with watched(made) as watch:
        roll_out(made, plans, between, watch)
        roll_out(made, plans, after, watch)
    assert watch.looks > 20
    assert watch.without == set()


def test_without_a_plan_between_it_does(moving: tuple[Mesh, Plan, Plan]) -> None:
    made, _, after = moving
    made.write(MIA, after)
    made.bird(MIA).configure()
    until(lambda: not reaches(made, MIA), 20, "Miami is behind a hub that does not know it yet")
