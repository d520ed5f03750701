"""Look-ups of the mesh's own addresses, at real BIRDs with a peer that says tunnel and service
routes, good ones and bad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

import pytest

from mesh.glass import way
from mesh.glass.answers import Route, Routes
from mesh.glass.bird import Control
from mesh.glass.lookup import Lookup
from mesh.glass.network import Network
from mesh.glass.questions import RefusedQuestion, RouteQuestion, target
from mesh.glass.words import REASONS
from tests.glass.glasses import waits
from tests.glass.networks import network_of
from tests.kit.bgp.attributes import Route as Said
from tests.kit.edge.whole import EDGE, EWR, LINK, MATE, MIA, ORD, WholeEdge
from tests.kit.machine import IMAGES, NEWEST
from tests.kit.wait import until

pytestmark = pytest.mark.image
NOBODY = 4200000009
SOCKET = "/run/bird/bird.ctl"
BAD = (
    Said("203.0.113.0/24", (MIA,), IPv6Address("fe80::3")),
    Said("10.10.10.4/32", (MIA, NOBODY, EWR), LINK),
)


@dataclass
class Asked:
    """An edge with a peer, and its glass."""

    edge: WholeEdge
    network: Network
    lookup: Lookup

    def all(self, text: str) -> Routes:
        return self.lookup.routes(RouteQuestion(target=target(text), node=EDGE))

    def routes(self, text: str) -> tuple[Route, ...]:
        return self.all(text).routes


@pytest.fixture(scope="module", autouse=True)
def waiting() -> Iterator[None]:
    """BIRD has no processor for a while."""
    with pytest.MonkeyPatch.context() as patch:
        waits(patch)
        yield


@pytest.fixture(scope="module", params=[IMAGES, NEWEST])
def asked(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    edge = WholeEdge(tmp_path_factory.mktemp("edge"), request.param)
    try:
        edge.machine.start_bird()
        edge.join()
        edge.tunnel.announce(*BAD)
        network = network_of(edge.plan)
        lookup = Lookup(network, network.by_id[EDGE], Control(edge.machine.path(SOCKET)))
        found = Asked(edge, network, lookup)
        until(lambda: found.routes("203.0.113.9"), 5, "what is refused has come")
        yield found
    finally:
        edge.close()


@pytest.mark.parametrize("address", ["10.10.10.3", "fd00:10:10::3", "192.30.120.25"])
def test_a_nodes_address_is_reached_over_its_tunnel(asked: Asked, address: str) -> None:
    used = asked.routes(address)[0]
    assert (used.used, used.why) == (True, "the best, the only one")
    assert (used.kind, used.peer, used.node, used.table[:-1]) == ("tunnel", MATE, MATE, "master")
    assert (used.path, used.nodes, used.origin) == ((MIA,), (MATE,), MIA)
    assert (used.next_hop, used.interface) == ("fe80::3", "wg-mia-vultr-1")
    assert used.since > 1_700_000_000


def test_a_node_behind_another_is_reached_over_both(asked: Asked) -> None:
    used = asked.routes("10.10.10.2")[0]
    assert (used.path, used.nodes) == ((MIA, ORD), (MATE, "ord-vultr-1"))
    hops = way.in_use(asked.network, EDGE, "ord-vultr-1", asked.all("10.10.10.2"))
    assert hops is not None
    assert [hop.node for hop in hops] == [EDGE, MATE, "ord-vultr-1"]
    assert len(way.planned(asked.network, EDGE, "ord-vultr-1")) == 2


def test_an_own_address_is_this_nodes(asked: Asked) -> None:
    used = asked.routes("10.10.10.1")[0]
    assert (used.used, used.kind, used.why) == (True, "device", "an address of this node")


@pytest.mark.parametrize("address", ["192.30.120.100", "2620:71:4000::100"])
def test_a_service_is_taken_from_the_node_that_serves_it(asked: Asked, address: str) -> None:
    (used, *others) = [each for each in asked.routes(address) if each.table != "internet4"]
    assert (used.table[:-1], used.kind, used.peer) == ("services", "ibgp", MATE)
    assert (used.used, used.node, used.interface) == (True, MATE, "wg-mia-vultr-1")
    assert all(each.table[:-1] != "master" or each.session != used.session for each in others)
    served = asked.lookup.served("web")
    assert served.serves == {"ipv4": False, "ipv6": False}
    assert served.taken_from == {"ipv4": MATE, "ipv6": MATE}


def test_what_the_policy_between_nodes_refuses_has_its_reason(asked: Asked) -> None:
    (refused,) = [each for each in asked.routes("203.0.113.9") if each.refused]
    assert (refused.kind, refused.peer, refused.refused) == ("tunnel", MATE, REASONS[32])
    (strange,) = [each for each in asked.routes("10.10.10.4") if each.refused]
    assert strange.refused == REASONS[34]
    assert strange.nodes == (MATE, "", "ewr-vultr-1")
    found = asked.lookup.refused(RefusedQuestion(node=EDGE, session="u_mia_vultr_1"))
    assert found.counts == {REASONS[32]: 1, REASONS[34]: 1}
