"""A provider's router of the lab does for whoever asks what the provider documents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest

from mesh.lab import namespaces
from mesh.lab.routers import upstream_config
from mesh.lab.underlay import Uplink, underlay
from mesh.lab.wiring import TRANSIT_LINK_LOCAL, UPSTREAM_LINK_LOCAL
from mesh.render import File
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.speaker import Speaker
from tests.kit.bird import running
from tests.kit.machine import Debian
from tests.kit.namespaces import spaces
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import patience

pytestmark = pytest.mark.image
NET = "192.30.120.0/23"
PEER = "169.254.169.254"
COLLECTOR = "192.0.2.65"
ASN, VULTR = 27218, 20473


@dataclass(frozen=True)
class ProviderRouter:
    """Vultr's router in New York between two speakers: a node, and the city's transit. It plays the
    node's peer as well, at ``COLLECTOR``."""

    namespace: str
    uplink: Uplink
    node: Speaker
    transit: Speaker

    def told(self, *communities: tuple[int, int]) -> Route | None:
        """What the transit holds once the node has announced the aggregate with these."""
        self.node.withdraw(NET)
        self.transit.log.wait(lambda log: NET not in log.routes(), 10, "the withdrawal")
        # The last word is of another prefix: what it says of the first has been said by then.
        mark = "192.30.121.0/24"
        self.node.withdraw(mark)
        self.transit.log.wait(lambda log: mark not in log.routes(), 10, "the mark's withdrawal")
        hop = self.uplink.ipv4
        self.node.announce(
            Route(NET, (ASN,), hop, med=50, communities=communities), Route(mark, (ASN,), hop)
        )
        self.transit.log.wait(lambda log: mark in log.routes(), 10, "the mark")
        return self.transit.log.routes().get(NET)


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderRouter]:
    """The router, running, and both sessions up."""
    keys = prod()
    keys["nodes"]["ewr-vultr-1"]["upstreams"] = [
        {"name": "collector", "asn": 64530, "ipv4": COLLECTOR, "multihop": 8}
    ]
    world = underlay(plan_of(keys))
    upstream = next(each for each in world.upstreams if each.region == "ewr")
    (uplink,) = [world.node(each) for each in upstream.nodes]
    machine = Debian(tmp_path_factory.mktemp("router"))
    config = upstream_config(world, upstream, {"vultr": "s3cret"})
    machine.put([File("/etc/bird/bird.conf", config)])
    with spaces("router", "r", "w") as (here, there), ExitStack() as stack:
        _wire(here, there, uplink)
        node = Speaker(ASN, IPv4Address("10.10.10.4"), password="s3cret", namespace=there)
        asn = world.transit(upstream.transit).asn
        transit = Speaker(asn, IPv4Address("192.0.2.1"), namespace=there)
        transit.listen(TRANSIT_LINK_LOCAL, UPSTREAM_LINK_LOCAL, "transit")
        for speaker in (node, transit):
            stack.callback(speaker.close)
        stack.enter_context(running(machine, here))
        node.establish(str(uplink.ipv4), PEER)
        assert transit.established.wait(patience(20)), transit.log
        yield ProviderRouter(there, uplink, node, transit)


def _wire(here: str, there: str, uplink: Uplink) -> None:
    links = ("nodes", "transit")
    namespaces.ip((f"link add {n} type veth peer name {n} netns {there}" for n in links), here)
    for space, own, other, link_local in (
        (here, PEER, uplink.ipv4, UPSTREAM_LINK_LOCAL),
        (there, uplink.ipv4, PEER, TRANSIT_LINK_LOCAL),
    ):
        namespaces.ip([
            *(f"link set {name} addrgenmode none" for name in links),
            *(f"link set {name} up" for name in links),
            f"address add {own}/32 dev nodes",
            f"route add {other}/32 dev nodes",
            f"address add {link_local}/64 dev transit nodad",
        ], space)  # fmt: skip
    namespaces.ip([f"address add {COLLECTOR}/32 dev nodes"], here)
    namespaces.ip([f"route add {COLLECTOR}/32 dev nodes"], there)


ASKED: list[tuple[str, tuple[tuple[int, int], ...], int, int | None]] = [
    # what is asked, communities, how often the provider stands in the path, MED
    ("nothing", (), 1, None),
    ("prepend: 1", ((VULTR, 6001),), 2, None),
    ("prepend: 3", ((VULTR, 6003),), 4, None),
    ("not to exchanges", ((VULTR, 6601),), 1, None),
    ("zeroMed", ((VULTR, 64609),), 1, 0),
]


@pytest.mark.parametrize(
    ("communities", "times", "med"), [row[1:] for row in ASKED], ids=[row[0] for row in ASKED]
)
def test_the_transit_hears_what_was_asked(
    router: ProviderRouter, communities: tuple[tuple[int, int], ...], times: int, med: int | None
) -> None:
    heard = router.told(*communities)
    assert heard is not None
    assert (heard.path, heard.med) == ((VULTR,) * times + (ASN,), med)


@pytest.mark.parametrize("more", [(), ((VULTR, 6602),), ((VULTR, 6603),)])
def test_nobody_hears_what_is_for_the_provider_or_for_exchanges_only(
    router: ProviderRouter, more: tuple[tuple[int, int], ...]
) -> None:
    assert router.told((VULTR, 6000), *more) is None


def test_a_peer_without_a_password_is_reached_beside_the_provider(router: ProviderRouter) -> None:
    with closing(Speaker(ASN, IPv4Address("10.10.10.4"), namespace=router.namespace)) as node:
        node.establish(str(router.uplink.ipv4), COLLECTOR)
