"""The world around the nodes behaves as providers and the Internet do, shown by packets."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from mesh import netns
from mesh.lab import bird, namespaces, wiring
from mesh.lab.errors import LabError
from mesh.lab.lab_files import files_of
from mesh.lab.routers import session_name
from mesh.lab.world import begin_world, clear_world, is_raised, load, raise_world
from mesh.plan import Plan
from tests.kit.wait import until
from tests.lab.conftest import Raised
from tests.lab.inspection import pings, run_in
from tests.lab.speaker import PASSWORDS, speaker

pytestmark = pytest.mark.lab

AGGREGATES = ("192.30.120.0/23", "2620:71:4000::/48")


def established(raised: Raised, node: str, family: str = "ipv4") -> bool:
    """Whether a node's session is up at its upstream."""
    box = raised.world.node(node).upstream
    return bird.sessions(raised.place, box)[session_name(node, family)] == "Established"


def accepted(raised: Raised, node: str, net: str) -> bool:
    """Whether the upstream took a prefix from the node."""
    box, family = raised.world.node(node).upstream, "ipv6" if ":" in net else "ipv4"
    answer = bird.ask(raised.place, box, f"show route {net} protocol {session_name(node, family)}")
    return net in answer


def filtered(raised: Raised, node: str, net: str) -> bool:
    """Whether the upstream got a prefix from the node, and refused it."""
    box, family = raised.world.node(node).upstream, "ipv6" if ":" in net else "ipv4"
    answer = bird.ask(
        raised.place, box, f"show route {net} filtered protocol {session_name(node, family)}"
    )
    return net in answer


@pytest.mark.parametrize("version", [4, 6])
def test_every_client_reaches_every_other_and_the_operator(raised: Raised, version: int) -> None:
    world = raised.world
    ends = [(client.box, client.ipv4, client.ipv6) for client in world.clients]
    ends.append((world.operator.box, world.operator.ipv4, world.operator.ipv6))
    for client in world.clients:
        for box, ipv4, ipv6 in ends:
            address = ipv4 if version == 4 else ipv6
            assert pings(raised.place, client.box, address), f"{client.box} does not reach {box}"


def test_raising_it_again_changes_nothing(raised: Raised) -> None:
    before = namespaces.processes(raised.place.namespace(b) for b in raised.place.boxes())
    assert raise_world(raised.plan, raised.name, PASSWORDS) == raised.world == load(raised.name)
    after = namespaces.processes(raised.place.namespace(b) for b in raised.place.boxes())
    assert before == after, "a second run must not restart anything"


def test_a_world_that_was_begun_is_gone_on_from(plan: Plan) -> None:
    """`mesh lab up` begins it while the engine gets ready, without any password."""
    name = f"test-begun-{os.getpid()}"
    here, session = files_of(name), session_name("lax-vultr-1", "ipv4")
    clear_world(name)
    try:
        begin_world(plan, name)
        before = namespaces.processes(map(here.namespace, here.boxes()))
        box = load(name).node("lax-vultr-1").upstream
        assert session not in bird.sessions(here, box)
        assert not is_raised(name, plan, PASSWORDS)
        assert raise_world(plan, name, PASSWORDS) == load(name)
        begin_world(plan, name)  # where it stands, there is nothing to begin
        assert is_raised(name, plan, PASSWORDS)
        assert session in bird.sessions(here, box)
        after = namespaces.processes(map(here.namespace, here.boxes()))
        assert before == after, "nothing is started twice"
    finally:
        clear_world(name)


def test_a_missing_session_password_is_named(raised: Raised) -> None:
    with pytest.raises(LabError, match="mesh:bgpPassword-vultr is missing or empty"):
        raise_world(raised.plan, raised.name, PASSWORDS | {"vultr": ""})


def test_what_a_leaving_node_stands_on_needs_no_password_any_more(raised: Raised) -> None:
    """The stack forgets it together with the node, and the node is still there to be drained."""
    leaving, box = "ewr-buyvm-1", raised.world.node("ewr-buyvm-1").upstream
    fewer = replace(raised.plan, nodes=tuple(n for n in raised.plan.nodes if n.id != leaving))
    others = {name: key for name, key in PASSWORDS.items() if name != "buyvm"}
    raised.place.state(leaving).parent.mkdir(parents=True, exist_ok=True)
    raised.place.state(leaving).touch()
    try:
        raise_world(fewer, raised.name, others)
        assert bird.is_running(raised.place, box)
        raised.place.state(leaving).unlink()
        raise_world(fewer, raised.name, others)
        assert not netns.exists(raised.place.namespace(box))
    finally:
        raised.place.state(leaving).unlink(missing_ok=True)
        raise_world(raised.plan, raised.name, PASSWORDS)


def test_passwords_are_in_files_of_root_only(raised: Raised) -> None:
    holding = [
        path
        for path in raised.place.runtime.rglob("*")
        if path.is_file() and PASSWORDS["vultr"].encode() in path.read_bytes()
    ]
    assert holding, "the upstreams must know the key"
    assert {path.name for path in holding} == {"bird.conf"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}


VERDICTS = {
    "192.30.120.0/23": True,
    "192.30.120.0/24": True,
    "192.30.121.0/24": False,  # announced with another AS in its path
    "192.30.120.0/25": False,
    "192.30.120.100/32": False,
    "192.30.122.0/24": False,
    "0.0.0.0/0": False,
    "10.10.10.0/24": False,
    "2620:71:4000::/48": True,
    "2620:71:4000::/64": False,
    "2620:71:4001::/48": False,
    "::/0": False,
}


def test_an_upstream_accepts_what_the_account_may_announce_and_nothing_else(
    raised: Raised,
) -> None:
    node = "ord-vultr-1"
    routes = list(VERDICTS)

    def at_transit(net: str) -> str:
        """What the transit has heard from the provider, once that net is among it."""
        seen = bird.ask(raised.place, "transit-ord", "show route all protocol u_vultr")
        return seen if net in seen else ""

    with speaker(raised.place, raised.world, node, routes, via={"192.30.121.0/24": 64999}):
        for family in ("ipv4", "ipv6"):
            if family == "ipv6":
                until(lambda: _has_ipv6(raised, node), 10, "the speaker's SLAAC address")
            until(partial(established, raised, node, family), 10, f"the {family} session of {node}")
        for net, verdict in VERDICTS.items():
            if verdict:
                until(partial(accepted, raised, node, net), 10, f"{net} to be accepted")
            else:
                until(partial(filtered, raised, node, net), 10, f"{net} to be refused")
                assert not accepted(raised, node, net)
        seen = until(lambda: at_transit("192.30.120.0/23"), 10, "the world to hear of it")
        assert "BGP.as_path: 20473 27218\n" in seen, "the world sees the provider's public AS"
        assert "192.30.122.0/24" not in seen


def test_a_node_is_offered_a_default_and_traps_over_its_session(raised: Raised) -> None:
    node = "ord-vultr-1"
    with speaker(raised.place, raised.world, node, []):
        until(lambda: established(raised, node), 10, f"the session of {node}")
        for net in (
            "0.0.0.0/0",
            "0.0.0.0/1",
            "10.10.10.0/24",
            "192.30.120.0/24",
            "198.51.100.0/30",
        ):
            until(partial(offered, raised, node, net), 10, f"{net} to be offered to the node")


@pytest.mark.parametrize("password", [None, "another-key"])
def test_without_the_right_key_there_is_no_session(raised: Raised, password: str | None) -> None:
    node, right = "ord-vultr-1", "mia-vultr-1"
    with (
        speaker(raised.place, raised.world, node, [], password=password),
        speaker(raised.place, raised.world, right, []),
    ):
        until(lambda: established(raised, right), 10, "the session with the right key")
        until(
            lambda: md5_failures(raised, "upstream-vultr-ord") > 0,
            10,
            "the upstream's kernel to refuse a segment",
        )
        assert not established(raised, node)


def test_a_packet_for_an_anycast_address_goes_to_the_nearest_city(raised: Raised) -> None:
    service, serves = "192.30.120.100", ["192.30.120.100/32"]
    with (
        speaker(raised.place, raised.world, "lax-vultr-1", AGGREGATES[:1], serves=serves),
        speaker(raised.place, raised.world, "ewr-vultr-1", AGGREGATES[:1], serves=serves),
    ):
        # Chicago and Miami are nearer to New York than to Los Angeles.
        expected = {"lax": "lax-vultr-1", "ewr": "ewr-vultr-1", "ord": "ewr-vultr-1",
                    "mia": "ewr-vultr-1"}  # fmt: skip
        for city, node in expected.items():
            until(
                partial(answered_by, raised, f"client-{city}", service, node),
                10,
                f"client-{city} to be answered by {node}",
            )


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_no_client_is_told_of_a_router_that_is_none_of_its_own(raised: Raised, family: str) -> None:
    """While a withdrawal spreads, a packet goes back and forth between a transit and an upstream. A
    client that believed the transit's redirect asked in vain for eleven seconds."""
    client = raised.world.client("client-lax")
    address, icmp = {"ipv4": ("192.30.120.100", "Icmp"), "ipv6": ("2620:71:4000::100", "Icmp6")}[
        family
    ]
    port = raised.world.upstream("upstream-vultr-lax").port
    before = _counters(raised, client.box)
    way = [address, "via", "inet6", wiring.UPSTREAM_LINK_LOCAL, "dev", port]
    namespaces.ip([f"route add {' '.join(way)}"], raised.place.namespace(client.transit))
    try:
        assert not pings(raised.place, client.box, address, wait=2)
    finally:
        namespaces.ip([f"route delete {' '.join(way)}"], raised.place.namespace(client.transit))
    after = _counters(raised, client.box)
    returned = f"{icmp}InTimeExcds"
    assert after[returned] > before[returned], "no packet went back and forth"
    redirects = f"{icmp}InRedirects"
    assert after[redirects] == before[redirects]


def test_the_accounts_addresses_are_sources_only_where_they_may_be_announced(
    raised: Raised,
) -> None:
    client, service = raised.world.client("client-lax").ipv4, "192.30.120.100"
    serves = [f"{service}/32"]
    with speaker(raised.place, raised.world, "lax-vultr-1", AGGREGATES[:1], serves=serves):
        assert pings(raised.place, "lax-vultr-1", client, service)
    with speaker(raised.place, raised.world, "lax-aws-1", AGGREGATES[:1], serves=serves):
        assert pings(raised.place, "lax-aws-1", client), "the node has no uplink"
        assert _foreign(raised, "lax-aws-1") == 0
        assert not pings(raised.place, "lax-aws-1", client, service, wait=1)
        assert _foreign(raised, "lax-aws-1") > 0
        # Within a VPC any source goes.
        vpc = raised.world.upstream("upstream-aws-lax").vpc
        assert vpc is not None
        assert pings(raised.place, vpc.client, service), "the VPC's route to the member"


@pytest.mark.parametrize("node", ["lax-aws-1", "ord-gcp-1"])
def test_a_member_is_known_to_the_world_by_another_address_than_its_own(
    raised: Raised, node: str
) -> None:
    uplink, client = raised.world.node(node), raised.world.client("client-mia")
    with speaker(raised.place, raised.world, node, ()):
        assert uplink.main != uplink.ipv4
        assert pings(raised.place, node, client.ipv4), "its own word, under its public address"
        assert pings(raised.place, client.box, uplink.ipv4), "the world's word"
        assert not pings(raised.place, client.box, uplink.main, wait=0.6)
        assert not pings(raised.place, client.box, f"{uplink.gateway4}", wait=0.6)


@pytest.mark.parametrize("node", ["lax-aws-1", "ord-gcp-1"])
def test_the_speakers_of_a_vpc_accept_the_aggregate_and_nothing_else(
    raised: Raised, node: str
) -> None:
    vpc = raised.world.upstream(raised.world.node(node).upstream).vpc
    assert vpc is not None
    offers = [net for net in VERDICTS if ":" not in net]
    with speaker(raised.place, raised.world, node, offers, via={"192.30.121.0/24": 64999}):
        for number, router in enumerate(vpc.routers, 1):
            name = session_name(node, "ipv4")
            until(
                lambda box=router.box, name=name: (
                    bird.sessions(raised.place, box)[name]  # type: ignore[misc]
                    == "Established"
                ),
                10,
                f"the session with {router.box}",
            )
            until(partial(_learned, raised, router.box, AGGREGATES[0]), 10, "the aggregate")
            others = [net for net in offers if net != AGGREGATES[0]]
            show = f"show route filtered protocol {name}"
            until(partial(_shown, raised, router.box, show, others), 10, "others are refused")
            assert not any(_learned(raised, router.box, net) for net in others)
            show = f"show route protocol to_vpc{number}"
            bait = ["0.0.0.0/0"]
            until(partial(_shown, raised, node, show, bait), 10, "a bait that no node may take")
        upstream = raised.world.node(node).upstream
        until(partial(_in_kernel, raised, upstream, AGGREGATES[0]), 10, "the VPC's own route")
        transit = raised.world.upstream(upstream).transit
        assert AGGREGATES[0] not in bird.ask(raised.place, transit, "show route")


def _learned(raised: Raised, box: str, net: str) -> bool:
    """Whether a speaker has taken a route from a node."""
    return net in bird.ask(raised.place, box, f'show route {net} where proto ~ "n_*"')


def _shown(raised: Raised, box: str, command: str, nets: list[str]) -> bool:
    """Whether BIRD shows all of these."""
    shown = bird.ask(raised.place, box, command)
    return all(net in shown for net in nets)


def _in_kernel(raised: Raised, box: str, net: str) -> bool:
    return net in run_in(raised.place, box, "ip", "route", "show", net).stdout


def test_a_source_that_is_nobodys_is_dropped_at_the_port(raised: Raised) -> None:
    node = "lax-vultr-1"
    target = raised.world.client("client-lax").ipv4
    with speaker(raised.place, raised.world, node, (), serves=["203.0.113.77/32"]):
        assert pings(raised.place, node, target)
        before = _dropped(raised, node)
        assert not pings(raised.place, node, target, "203.0.113.77", wait=1)
        assert _dropped(raised, node) > before


def test_the_default_route_by_advertisement_is_short_lived(raised: Raised) -> None:
    node = "mia-vultr-1"
    with speaker(raised.place, raised.world, node, ()):
        until(lambda: _default6(raised, node) is not None, 10, "a default route by advertisement")
        assert 0 < (_default6(raised, node) or 0) <= 12
        until(lambda: _has_ipv6(raised, node), 10, "the address that was known ahead")


def test_the_metadata_service_answers_only_who_is_an_instance(raised: Raised) -> None:
    with speaker(raised.place, raised.world, "lax-vultr-1", ()):
        answer = run_in(
            raised.place, "lax-vultr-1",
            "curl", "-s", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}",
            "http://169.254.169.254/v1.json",
        )  # fmt: skip
        assert answer.stdout == "404", "a speaker is no instance"


def test_the_host_holds_nothing_of_the_world(raised: Raised) -> None:
    links = json.loads(namespaces.run(["ip", "-j", "address"]))
    held = {info["local"] for link in links for info in link["addr_info"]}
    assert not any(
        address.startswith(("203.0.113.", "198.51.100.", "2001:db8:")) for address in held
    )
    routes = namespaces.run(["ip", "route", "show", "table", "all"])
    routes += namespaces.run(["ip", "-6", "route", "show", "table", "all"])
    assert "203.0.113." not in routes
    assert "198.51.100." not in routes
    assert "2001:db8:" not in routes


def offered(raised: Raised, node: str, net: str) -> bool:
    """Whether the speaker in a node's place got a prefix from its upstream."""
    return net in bird.ask(raised.place, node, f"show route {net} protocol to_ipv4")


def answered_by(raised: Raised, box: str, address: str, node: str) -> bool:
    """Whether a box that asks an address is answered by a node."""
    curl = ("curl", "-s", "--noproxy", "*", "-m", "1", f"http://{address}/whoami")
    return run_in(raised.place, box, *curl).stdout.strip() == node


def _dropped(raised: Raised, node: str) -> int:
    """Packets that the port's filter has dropped."""
    uplink = raised.world.node(node)
    rules = run_in(raised.place, uplink.upstream, "nft", "-j", "list", "ruleset").stdout
    return sum(
        part["counter"]["packets"]
        for item in json.loads(rules)["nftables"]
        if item.get("rule", {}).get("table") == f"source-{node}"
        for part in item["rule"]["expr"]
        if isinstance(part.get("counter"), dict)
    )


def _foreign(raised: Raised, node: str) -> int:
    """Packets from the aggregates that a provider did not let out of a member."""
    box = raised.world.node(node).upstream
    table = ("netdev", f"source-{node}")
    text = run_in(raised.place, box, "nft", "-j", "list", "counter", *table, wiring.FOREIGN).stdout
    (counter,) = [i["counter"] for i in json.loads(text)["nftables"] if "counter" in i]
    return int(counter["packets"])


def _counters(raised: Raised, box: str) -> Counter[str]:
    """What a box's kernel has counted since the box was made, by the names of nstat(8)."""
    return Counter(json.loads(run_in(raised.place, box, "nstat", "-asj").stdout)["kernel"])


def md5_failures(raised: Raised, box: str) -> int:
    """Segments refused for their key (or for having none), by the kernel's own count."""
    lines = run_in(raised.place, box, "cat", "/proc/net/netstat").stdout.splitlines()
    counts = dict(zip(lines[0].split()[1:], map(int, lines[1].split()[1:]), strict=True))
    return counts["TCPMD5Failure"] + counts["TCPMD5NotFound"]


def _default6(raised: Raised, node: str) -> int | None:
    """Seconds that the node's IPv6 default route has left; None where there is none."""
    out = run_in(raised.place, node, "ip", "-j", "-6", "route", "show", "default").stdout
    routes = json.loads(out or "[]")
    return routes[0].get("expires") if routes else None


def _has_ipv6(raised: Raised, node: str) -> bool:
    out = run_in(raised.place, node, "ip", "-6", "address", "show", wiring.NODE_INTERFACE).stdout
    return str(raised.world.node(node).ipv6) in out
