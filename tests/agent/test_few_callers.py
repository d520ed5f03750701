"""A registry that few networks may reach: nodes get in all the same, before any generation names
them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.test_node import LAX, ORD, Running
from tests.kit.machines import Network, Wire
from tests.kit.stacks import plan_of, prod

pytestmark = [pytest.mark.image, pytest.mark.beside_labs]
MIA = "mia-vultr-1"
OPERATOR = "203.0.113.250/32"


def test_nodes_join_a_registry_that_only_the_operators_network_may_reach(tmp_path: Path) -> None:
    """At the first publication, and one that comes later."""
    values = prod() | {"registry": {"sources": [OPERATOR]}}
    nodes = values["nodes"]
    values["nodes"] = {node: nodes[node] for node in (LAX, ORD)}
    wire = Wire(tmp_path)
    try:
        running = Running(Network(wire, plan_of(values)))
        assert set(running.publish().members) == {LAX, ORD}
        values["nodes"] = {node: nodes[node] for node in (LAX, ORD, MIA)}
        running.network.plan = plan_of(values)
        running.network.boot(MIA, 13)
        assert set(running.publish().members) == {LAX, ORD, MIA}
    finally:
        wire.close()
