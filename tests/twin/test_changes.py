"""What a change costs the clients of a running network, and where a wrong one stops."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mesh.lab.rotation import OLD
from mesh.lab.world import TAKES
from tests.twin.conftest import NODES, Twin
from tests.waves.applied import in_force
from tests.waves.cases import PASSWORD
from tests.waves.network import UP, Change, Network
from tests.waves.proofs import named

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]

LINGER = {"drain": {"linger": 2}}
AT_THE_DRAINED = 2
"""Connections, one in each family, that a city may lose when its node withdraws for an update: the
provider's router has no other path until its transit has chosen one."""


@pytest.fixture(scope="module")
def network(twin: Twin) -> Iterator[Network]:
    """The twin, which has its own configuration again afterwards."""
    yield Network(twin.state, twin.root, twin.name)
    twin.pulumi(*UP)


def test_a_change_reaches_one_node_after_the_other_and_no_client_notices(network: Network) -> None:
    rollout = network.roll(Change(LINGER))
    assert rollout.code == 0, rollout.output
    assert rollout.lost() == dict.fromkeys(rollout.lost(), 0)
    (generation,) = rollout.generations
    assert set(rollout.nodes(generation)) == set(NODES)
    assert rollout.waves(generation) == len(NODES)


def test_a_wrong_password_stops_at_its_first_node_which_comes_back(network: Network) -> None:
    rollout = network.roll(Change(LINGER | PASSWORD, variables={TAKES: OLD}))
    assert rollout.code, rollout.output
    node = named(rollout)
    assert node in NODES, rollout.output
    lost = rollout.lost()
    assert lost.pop(str(node).split("-")[0]) <= AT_THE_DRAINED
    assert lost == dict.fromkeys(lost, 0)
    assert not rollout.nodes(rollout.generations[0]), "no node keeps it"
    assert rollout.generations[0] not in in_force(network.name).values()
    assert not network.out_of_service()
