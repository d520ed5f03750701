"""Sessions of ``upstreams`` with a speaker that is not BIRD: own addresses, timers, passwords."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from mesh.agent.config import Config
from mesh.agent.sessions import Sessions
from mesh.lab import namespaces
from mesh.trust.encoding import parse
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.messages import (
    Capability,
    Notification,
    capabilities,
    encode_notification,
)
from tests.kit.bgp.speaker import Speaker
from tests.kit.edge.uplink import Edge, edge
from tests.kit.machine import BIRDS
from tests.kit.stacks import with_sessions
from tests.kit.wait import until

pytestmark = pytest.mark.image
NODE = "ewr-buyvm-1"
NET4, NET6 = "192.30.120.0/23", "2620:71:4000::/48"
SECRET = "the-secret-of-transit-b"
LINKS = {
    "eth1": ("192.0.2.10/30", "192.0.2.9/30"),
    "ix0": ("192.0.2.130/25", "192.0.2.253/25"),
    "eth1.20": ("fe80::2/64", "fe80::1/64"),
}
"""The node's interfaces beside its uplink: its own address and the neighbor's."""


def wire(world: str) -> None:
    """The interfaces, as the operator of a host would configure them."""
    here = f"{world.removesuffix('w')}n"
    for link, (own, other) in LINKS.items():
        nodad = " nodad" if ":" in own else ""
        namespaces.ip([
            f"link add {link} type veth peer name {link} netns {world}",
            f"link set {link} addrgenmode none",
            f"link set {link} up",
            f"address add {own} dev {link}{nodad}",
        ], here)  # fmt: skip
        lines = [f"link set {link} addrgenmode none", f"link set {link} up"]
        namespaces.ip([*lines, f"address add {other} dev {link}{nodad}"], world)


@pytest.fixture(scope="module", params=BIRDS)
def host(request: pytest.FixtureRequest) -> Iterator[Edge]:
    """The host with its sessions, one version of BIRD after another."""
    secrets = {"ewr-buyvm-1-transit-b": SECRET}
    values = with_sessions()
    given = values["nodes"][NODE]["upstreams"]
    next(each for each in given if each["name"] == "neighbor")["import"] = "full"
    with edge(values, NODE, version=request.param, ready=wire, secrets=secrets) as made:
        yield made


def _speaker(
    host: Edge, asn: int, family: int, ttl: int | None = None, password: str | None = None
) -> Speaker:
    said: tuple[Capability, ...] = capabilities(asn, families=(family,))
    router_id = host.plan.node(NODE).router_id + 100
    return Speaker(
        asn, router_id, said=said, namespace=host.world, ttl=ttl, password=password, hold=90
    )


def _comes_up(transit: Speaker) -> bool:
    """Whether a session stands within a moment; one that is right does."""
    with contextlib.suppress(OSError):
        transit.connect("192.0.2.9", "192.0.2.10", seconds=1)
    stands = transit.established.wait(1)
    transit.close()
    return stands


def test_a_transit_on_its_own_link_hears_our_prefix_from_the_session_s_own_address(
    host: Edge,
) -> None:
    transit = _speaker(host, 64510, 4, ttl=255, password=SECRET)
    transit.establish("192.0.2.9", "192.0.2.10")
    transit.log.wait(lambda log: NET4 in log.routes(), 10, "our prefix")
    route = transit.log.routes()[NET4]
    assert (route.path, str(route.next_hop)) == ((27218,), "192.0.2.10")
    assert (64510, 100) in route.communities
    assert transit.log.opens()[0].hold == 60
    transit.close()


def test_another_session_s_password_opens_none(host: Edge) -> None:
    transit = _speaker(host, 64510, 4, ttl=255, password="s3cret-of-25-characters..")
    assert not _comes_up(transit)


def test_a_link_local_neighbor_hears_our_prefix(host: Edge) -> None:
    peer = _speaker(host, 64520, 6)
    peer.establish("fe80::1", "fe80::2", "eth1.20")
    peer.log.wait(lambda log: NET6 in log.routes(), 10, "our prefix")
    peer.close()


def test_a_link_local_neighbor_s_routes_are_taken(host: Edge) -> None:
    peer = _speaker(host, 64520, 6)
    peer.establish("fe80::1", "fe80::2", "eth1.20")
    hop = IPv6Address("fe80::1")
    peer.announce(Route("2606:4700::/32", path=(64520, 13335), next_hop=hop))
    asked = "show route table internet6 protocol up6_neighbor"
    until(lambda: "2606:4700::/32" in host.birdc(asked), 10, "its route")
    peer.close()


def test_two_route_servers_and_the_hoster_hear_it_at_once(host: Edge) -> None:
    server = _speaker(host, 64501, 4)
    server.establish("192.0.2.253", "192.0.2.130")
    hoster = host.upstream("ipv4")
    for one in (server, hoster):
        one.log.wait(lambda log: NET4 in log.routes(), 10, "our prefix")
    assert server.log.opens()[0].hold == 30
    assert hoster.log.opens()[0].hold == 9
    server.close()
    hoster.close()


def test_a_neighbor_that_refuses_our_hold_time_is_reported(host: Edge) -> None:
    agent = Sessions(host.bird)
    config = Path(f"/proc/{host.pid}/root/etc/anycast-mesh/agent.json").read_bytes()
    agent.watch(parse(Config, config))
    refusal = encode_notification(Notification(2, 6, b""))

    def refused() -> bool:
        transit = _speaker(host, 64510, 4, ttl=255, password=SECRET)
        with contextlib.suppress(OSError):  # BIRD waits after an error, and takes nobody meanwhile
            transit.connect("192.0.2.9", "192.0.2.10", seconds=1)
            transit.log.within(lambda log: log.opens() or log.ends(), 1)
            transit.send(refusal)
            transit.log.within(lambda log: log.ends(), 1)
        transit.close()
        down = agent.look().down.get("up4_transit_b")
        return down is not None and "Unacceptable hold time" in down.error

    until(refused, 30, "the refusal in the report")


def test_a_packet_that_passed_a_router_opens_no_session_with_ttl_security(host: Edge) -> None:
    """The last test: BIRD waits four minutes for such a neighbor's OPEN, and takes no other."""
    transit = _speaker(host, 64510, 4, ttl=254, password=SECRET)
    assert not _comes_up(transit)
