"""A mixed fleet in the lab: four cities at Vultr, a host at BuyVM, members at AWS and at GCP.

It comes up when one word of the lab's stack file is changed; so the checkout is a copy.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from mesh import netns
from mesh.lab import bird
from mesh.lab.containers import entering
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import Uplink, World
from mesh.lab.wiring import FOREIGN
from mesh.lab.world import load as load_world
from tests.kit.stacks import ROOT
from tests.kit.uptimes import restarted, up_since
from tests.kit.wait import patience, until
from tests.twin.conftest import CITIES, Twin, another, checkout_of
from tests.twin.held import held
from tests.twin.test_answers import SETTLED
from tests.twin.transfer import SIZE, download, seen, server, upload

pytestmark = [pytest.mark.lab, pytest.mark.engine, pytest.mark.twin]

NAME = f"mixed-{crc32(str(ROOT).encode()):08x}"
EDGES = (*(f"{city}-vultr-1" for city in CITIES), "ewr-buyvm-1")
MEMBERS = ("lax-aws-1", "ord-gcp-1")
FAMILIES = ("ipv4", "ipv6")
APP = {"ipv4": "192.30.120.102", "ipv6": "2620:71:4000::102"}
WEB = {"ipv4": "192.30.120.100", "ipv6": "2620:71:4000::100"}
EAST = "192.30.120.101"
AGGREGATES = {"ipv4": "192.30.120.0/23", "ipv6": "2620:71:4000::/48"}
# Chicago's member is nearer to New York and Miami than Los Angeles's.
SERVED_BY = {"lax": "lax-aws-1", "ord": "ord-gcp-1", "mia": "ord-gcp-1", "ewr": "ord-gcp-1"}


class Mixed(Twin):
    """The same by its commands, but into the boxes by the shortest way: the tests enter often."""

    def exec(self, box: str, *command: str, check: bool = True) -> str:
        """What a command in a box prints."""
        here = files_of(NAME)
        network = netns.entering(here.namespace(box))
        enter = entering(here, box) if box in (*EDGES, *MEMBERS) else network
        return self._run([*enter, *command], check).stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout with one word of ``Pulumi.lab.yaml`` changed."""
    return checkout_of(tmp_path_factory.mktemp("checkout"), "mixed", services=True)


@pytest.fixture(scope="module")
def mixed(root: Path) -> Iterator[Mixed]:
    """The lab, up; whatever happens, nothing of it stays."""
    with another(NAME, root) as state:
        lab = Mixed(state, root, NAME)
        lab.mesh("lab", "up")
        yield lab


@pytest.fixture(scope="module")
def world(mixed: Mixed) -> World:
    """The world around its nodes."""
    return load_world(NAME)


@pytest.fixture(scope="module")
def serving(mixed: Mixed) -> Iterator[None]:
    """A server of the application on each member, TCP and UDP."""
    with ExitStack() as servers:
        for member in MEMBERS:
            for address in APP.values():
                servers.enter_context(server(mixed, member, address))
        yield


def test_all_seven_nodes_are_one_network_with_all_their_sessions(mixed: Mixed) -> None:
    def all_well(found: dict[str, Any]) -> dict[str, Any] | None:
        nodes: dict[str, Any] = found["nodes"]
        states = {(node["state"], node["in_service"]) for node in nodes.values()}
        sessions = {state for node in nodes.values() for state in node["sessions"].values()}
        well = (states, sessions) == ({("applied", True)}, {"Established"})
        return nodes if well and not found["problems"] else None

    def told() -> dict[str, Any] | None:
        done = mixed.mesh("status", "--json", check=False)
        return all_well(json.loads(done.stdout)) if done.returncode == 0 else None

    until(lambda: all_well(mixed.status()), SETTLED, "all are in service, with all their sessions")
    nodes = until(told, SETTLED, "the command says so")
    assert nodes is not None and set(nodes) == {*EDGES, *MEMBERS}
    for name, node in nodes.items():
        own = {session for session in node["sessions"] if session[:2] not in ("u_", "ma")}
        wanted = {"vpc1", "vpc2"} if name in MEMBERS else {f"{name.split('-')[1]}{f}" for f in "46"}
        assert own == wanted


def test_a_member_stands_behind_its_providers_translation_and_limits(
    mixed: Mixed, world: World
) -> None:
    for member, mtu in (("lax-aws-1", 1500), ("ord-gcp-1", 1460)):
        uplink = world.node(member)
        (link,) = json.loads(mixed.exec(member, "ip", "-j", "address", "show", "enp1s0"))
        held = {address["local"] for address in link["addr_info"] if address["scope"] == "global"}
        assert held == {str(uplink.inside), str(uplink.ipv6)}
        assert link["mtu"] == mtu
        assert str(uplink.ipv4) in mixed.exec("lax-vultr-1", "wg", "show", "all", "endpoints")


def test_the_vpcs_speakers_have_learned_the_aggregate_with_the_liveness_that_they_offer(
    mixed: Mixed, world: World
) -> None:
    for member in MEMBERS:
        vpc = vpc_of(world, member)
        for router in vpc.routers:
            until(partial(hears, router.box, {AGGREGATES["ipv4"]}), SETTLED, "the aggregate alone")
        offered = {str(router.ipv4) for router in vpc.routers} if member == "lax-aws-1" else set()
        until(partial(is_live, mixed, member, offered), SETTLED, f"BFD with {offered} alone")


def hears(box: str, prefixes: set[str]) -> bool:
    """Whether a router has heard just these from nodes."""
    routes = bird.ask(files_of(NAME), box, 'show route where proto ~ "n_*"')
    return set(re.findall(r"^(\S+/\d+)", routes, re.MULTILINE)) == prefixes


def is_live(mixed: Mixed, member: str, routers: set[str]) -> bool:
    """Whether a member has BFD sessions with just these of its VPC, and all are up."""
    bfd = mixed.exec(member, "birdc", "show", "bfd", "sessions")
    states = dict(re.findall(r"^(172\.31\.\S+)\s+enp1s0\s+(\S+)", bfd, re.MULTILINE))
    return states == dict.fromkeys(routers, "Up")


def vpc_of(world: World, member: str) -> Any:
    """The VPC that a member is in."""
    vpc = world.upstream(world.node(member).upstream).vpc
    assert vpc is not None
    return vpc


@pytest.mark.parametrize("member", MEMBERS)
def test_who_lives_in_a_members_vpc_reaches_what_it_serves_and_what_its_mates_serve(
    mixed: Mixed, world: World, member: str
) -> None:
    inhabitant = vpc_of(world, member).client
    answers(mixed, inhabitant, APP["ipv4"], member)
    answers(mixed, inhabitant, EAST, "ewr-vultr-1", "mia-vultr-1")


def test_a_hosts_own_provider_sees_the_two_aggregates_and_passes_them_on(world: World) -> None:
    upstream = world.upstream(world.node("ewr-buyvm-1").upstream)
    until(partial(hears, upstream.box, set(AGGREGATES.values())), SETTLED, "both aggregates")
    heard = bird.ask(files_of(NAME), upstream.transit, "show route all protocol u_buyvm")
    assert set(re.findall(r"as_path: (53667 27218)\n", heard)) == {"53667 27218"}


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_speaks_no_bgp_with_the_internet(world: World, member: str) -> None:
    upstream = world.upstream(world.node(member).upstream)
    assert not [name for name in bird.sessions(files_of(NAME), upstream.box) if name[:2] == "n_"]
    heard = bird.ask(files_of(NAME), upstream.transit, f"show route protocol u_{upstream.provider}")
    assert str(world.node(member).ipv4) in heard, "its provider announces its own addresses"
    assert not any(aggregate in heard for aggregate in AGGREGATES.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("city", CITIES)
def test_a_client_of_any_city_is_served_by_the_nearest_member_and_seen_as_itself(
    mixed: Mixed, world: World, serving: None, city: str, family: str
) -> None:
    box, address = f"client-{city}", APP[family]
    answers(mixed, box, address, SERVED_BY[city])
    own = str(getattr(world.client(box), family))
    assert seen(mixed, box, address) == [own, own], "over TCP and over UDP"
    assert upload(mixed, box, address) == SIZE
    assert download(mixed, box, address) == SIZE


WAYS = {"lax": ("lax-vultr-1", "lax-vultr-1"), "mia": ("mia-vultr-1", "ord-vultr-1")}
"""Where a client's packets come in, and where the replies to them leave: nearest to the member."""


@pytest.mark.parametrize("city", WAYS)
def test_replies_leave_at_the_edge_that_is_nearest_to_the_member(mixed: Mixed, city: str) -> None:
    for address in APP.values():
        answers(mixed, f"client-{city}", address, SERVED_BY[city])

    def ways() -> tuple[set[str], set[str]]:
        """The edges where questions came in, and those where replies left."""
        with counted(mixed) as packets:
            for address in APP.values():
                mixed.whoami(f"client-{city}", address)
            found = packets()
        entered = {edge for edge, (inwards, _) in found.items() if inwards}
        return entered, {edge for edge, (_, outwards) in found.items() if outwards}

    entered, left = WAYS[city]
    until(lambda: ways() == ({entered}, {left}), SETTLED, f"in at {entered}, out at {left}")


COUNTING = """
table inet counting {
  chain forward {
    type filter hook forward priority 10; policy accept;
    iifname "enp1s0" oifname "wg-*" ip daddr 192.30.120.102 counter
    iifname "enp1s0" oifname "wg-*" ip6 daddr 2620:71:4000::102 counter
    iifname "wg-*" oifname "enp1s0" ip saddr 192.30.120.102 counter
    iifname "wg-*" oifname "enp1s0" ip6 saddr 2620:71:4000::102 counter
  }
}
"""


@contextmanager
def counted(mixed: Mixed) -> Iterator[Any]:
    """Yields a function that says how many packets of the application came in and left, by edge;
    nothing else must ask for it meanwhile."""

    def packets() -> dict[str, tuple[int, int]]:
        found = {}
        for edge in EDGES:
            text = mixed.exec(edge, "nft", "list", "table", "inet", "counting")
            counts = [int(count) for count in re.findall(r"counter packets (\d+)", text)]
            found[edge] = (counts[0] + counts[1], counts[2] + counts[3])
        return found

    for edge in EDGES:
        mixed.exec(edge, "sh", "-c", 'echo "$0" | nft -f -', COUNTING)
    try:
        yield packets
    finally:
        for edge in EDGES:
            mixed.exec(edge, "nft", "delete", "table", "inet", "counting", check=False)


@pytest.mark.parametrize("member", MEMBERS)
def test_a_members_cloud_drops_our_sources_and_none_was_ever_sent(
    mixed: Mixed, world: World, member: str
) -> None:
    """After all of the tests above; then what is sent on purpose, past the member's own rules."""
    uplink = world.node(member)
    assert foreign(mixed, uplink) == 0
    client = world.client("client-mia")
    for flag, source, target in (
        ("-4", APP["ipv4"], client.ipv4),
        ("-6", APP["ipv6"], client.ipv6),
    ):
        before = foreign(mixed, uplink)
        rule = ("from", source, "to", str(target), "lookup", "main", "priority", "10")
        mixed.exec(member, "ip", flag, "rule", "add", *rule)
        try:
            ping = ("ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", source, str(target))
            assert "100% packet loss" in mixed.exec(member, *ping, check=False)
        finally:
            mixed.exec(member, "ip", flag, "rule", "del", *rule)
        assert foreign(mixed, uplink) - before == 3


def foreign(mixed: Mixed, uplink: Uplink) -> int:
    """Packets with a source of ours that a member's cloud has dropped."""
    table = ("netdev", f"source-{uplink.node}", FOREIGN)
    text = mixed.exec(uplink.upstream, "nft", "list", "counter", *table)
    return int(re.findall(r"packets (\d+)", text)[0])


LOST = 300
"""Questions, one each 10 ms, that a way costs at most which BFD finds dead: thirty in quiet. A hold
time of 9 s would cost all that are left. They are counted, not timed: a prober without a processor
asks nothing meanwhile."""


def test_replies_move_to_the_next_edge_when_the_tunnel_to_the_nearest_is_cut(mixed: Mixed) -> None:
    """Los Angeles's member at its own addresses, asked by a client in Los Angeles every 10 ms."""
    # Its services would be taken over by Chicago's.
    own = {"ipv4": "192.30.120.3", "ipv6": "2620:71:4000::3"}
    leaves(mixed, own, "wg-lax-vultr-1", SETTLED)
    with ExitStack() as probes:
        measured = {
            family: probes.enter_context(probing(mixed, "client-lax", address, 6))
            for family, address in own.items()
        }
        mixed.mesh("lab", "fault", "tunnel-cut", "lax-aws-1:lax-vultr-1")
    try:
        for family in FAMILIES:
            found = measured[family]
            assert found["sent"] - found["answered"] < LOST, (family, found)
            assert set(found["by"]) == {"lax-aws-1"}, family
        leaves(mixed, own, "wg-ord-vultr-1", 5)
    finally:
        mixed.mesh("lab", "heal", "lax-aws-1:lax-vultr-1")
    leaves(mixed, own, "wg-lax-vultr-1", 20)


def leaves(mixed: Mixed, own: Mapping[str, str], interface: str, seconds: float) -> None:
    """Wait until the replies of Los Angeles's member leave by an interface."""
    for address in own.values():
        until(
            lambda source=address: way_out(mixed, "lax-aws-1", source) == interface,  # type: ignore[misc]
            seconds,
            f"replies from {address} leave by {interface}",
        )


def way_out(mixed: Mixed, member: str, source: str) -> str:
    """The interface by which a member's replies leave."""
    family, far = ("-6", "2001:db8:0:ffff::2") if ":" in source else ("-4", "198.51.100.2")
    routes = json.loads(mixed.exec(member, "ip", family, "-j", "route", "get", far, "from", source))
    return str(routes[0]["dev"])


@contextmanager
def probing(mixed: Mixed, box: str, address: str, seconds: int) -> Iterator[dict[str, Any]]:
    """Asks an address while the block runs; what was measured is in the dictionary afterwards."""
    arguments = ["--from", box, "--to", address, "--for", f"{seconds}s", "--json"]
    measured: dict[str, Any] = {}
    with subprocess.Popen(
        ["mesh", "lab", "probe", *arguments], cwd=mixed.root, env=mixed.environment,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            # One answer, so that what is measured includes a time before the fault.
            until(lambda: mixed.whoami(box, address), 5, f"{address} answers {box}")
            yield measured
        finally:
            output = process.communicate(timeout=patience(60))[0]
    measured |= json.loads(output)


def test_a_members_replies_leave_at_an_edge_that_serves_the_same(mixed: Mixed) -> None:
    """Both instances in Los Angeles fail, and Chicago's member is the nearest while the tunnel to
    its edge is cut: the replies leave at that edge, which binds their source as well."""
    failed = ("lax-vultr-1", "lax-aws-1")
    mixed.mesh("lab", "fault", "tunnel-cut", "lax-vultr-1:ord-vultr-1")
    with held(mixed.exec, *failed), ExitStack() as after:
        after.callback(mixed.mesh, "lab", "heal", "lax-vultr-1:ord-vultr-1")
        for node in failed:
            mixed.exec(node, "systemctl", "stop", "anycast-mesh-whoami.service")
            after.callback(mixed.exec, node, "systemctl", "start", "anycast-mesh-whoami.service")
        for address in WEB.values():
            until(
                lambda to=address: mixed.whoami("client-lax", to) == "ord-gcp-1",  # type: ignore[misc]
                20,
                f"Chicago's member answers Los Angeles at {address}",
            )
            until(
                lambda source=address: way_out(mixed, "ord-gcp-1", source) == "wg-ord-vultr-1",  # type: ignore[misc]
                SETTLED,
                "its replies leave at its nearest edge",
            )
            assert address in mixed.exec("ord-vultr-1", "ip", "address", "show", "dummy0")
    until(lambda: entered_at(mixed, "client-lax") == "lax-vultr-1", 20, "Los Angeles is back")
    until(lambda: mixed.whoami("client-lax", APP["ipv4"]) == "lax-aws-1", 20, "so is its member")


def test_an_edge_that_is_not_in_service_is_no_way_out(mixed: Mixed) -> None:
    """As after a boot, until the agent has seen a service work: here it does not look. It costs no
    session; on a busy machine BFD may end one meanwhile, and it is tried again then."""
    until(lambda: flapped_out_of_service(mixed) == [], 30, "no session is restarted")


def flapped_out_of_service(mixed: Mixed) -> list[str]:
    """Chicago is out of service for a moment, and no way out; its sessions that did not stand all
    the while."""
    before = sessions_with_peers(mixed, "ord-vultr-1")
    signal = ("systemctl", "kill", "anycast-mesh-agent.service", "--signal")
    mixed.exec("ord-vultr-1", *signal, "STOP")
    try:
        said = ("/etc/bird/mesh/out-of-service.conf", "/run/anycast-mesh/bird/announce.conf")
        mixed.exec("ord-vultr-1", "cp", *said)
        mixed.exec("ord-vultr-1", "birdc", "configure")
        for address in APP.values():
            until(
                lambda source=address: way_out(mixed, "ord-gcp-1", source) != "wg-ord-vultr-1",  # type: ignore[misc]
                5,
                f"replies from {address} leave at another edge",
            )
    finally:
        mixed.exec(
            "ord-vultr-1", "systemctl", "kill", "--signal=CONT", "anycast-mesh-agent.service"
        )
    for address in APP.values():
        until(
            lambda source=address: way_out(mixed, "ord-gcp-1", source) == "wg-ord-vultr-1",  # type: ignore[misc]
            20,
            f"replies from {address} leave at the nearest edge again",
        )
    until(lambda: entered_at(mixed, "client-ord") == "ord-vultr-1", 20, "Chicago is back")
    after = sessions_with_peers(mixed, "ord-vultr-1")
    return [name for name in restarted(before, after) if name in before]


def sessions_with_peers(mixed: Mixed, node: str) -> dict[str, float]:
    """A node's sessions with its peers that are up, and since when."""
    found = up_since(mixed.exec(node, "birdc", "show", "protocols"))
    return {name: when for name, when in found.items() if name.startswith(("u_", "mate"))}


@pytest.mark.parametrize("member", MEMBERS)
def test_the_rules_for_replies_go_with_their_unit(mixed: Mixed, member: str) -> None:
    """A member that becomes an edge is told nothing else."""

    def rules() -> set[str]:
        listed = (mixed.exec(member, "ip", flag, "rule") for flag in ("-4", "-6"))
        return {line for text in listed for line in text.splitlines()}

    before = rules()
    ours = {rule for rule in before if "192.30.120.0/23" in rule or "2620:71:4000::/48" in rule}
    assert len(ours) == 7 + 3
    with held(mixed.exec, member):
        mixed.exec(member, "systemctl", "stop", "anycast-mesh-replies.service")
        assert rules() == before - ours
    until(lambda: rules() == before, 60, "the node starts it again, for nothing holds it any more")


def test_the_loss_of_an_edge_moves_the_replies_that_left_there(mixed: Mixed) -> None:
    """Chicago's, the nearest to its member; a client in Miami comes in at Miami all the while."""
    with probing(mixed, "client-mia", APP["ipv4"], 6) as measured:
        mixed.mesh("lab", "fault", "power-loss", "ord-vultr-1")
    try:
        assert measured["sent"] - measured["answered"] < LOST, measured
        assert set(measured["by"]) == {"ord-gcp-1"}
        for address in APP.values():
            until(lambda to=address: mixed.whoami("client-ord", to), 30, "Chicago has another way")  # type: ignore[misc]
    finally:
        mixed.mesh("lab", "heal", "ord-vultr-1")
    until(lambda: entered_at(mixed, "client-ord") == "ord-vultr-1", 60, "Chicago is back")


def entered_at(mixed: Mixed, box: str) -> str:
    """The edge that answers a client: nobody but an edge binds it where both could."""
    return mixed.whoami(box, WEB["ipv4"])


def test_a_service_without_any_member_is_withdrawn_and_comes_back_with_them(
    mixed: Mixed, world: World
) -> None:
    until(lambda: known(mixed), SETTLED, "to begin with")
    for member in MEMBERS:
        mixed.mesh("lab", "fault", "power-loss", member)
    try:
        until(lambda: not known(mixed), 15, "withdrawn from iBGP")
        until(lambda: not mixed.whoami("client-lax", APP["ipv4"]), 5, "nobody answers")
        answers(mixed, "client-lax", WEB["ipv4"], "lax-vultr-1")
        aws = world.node("lax-aws-1").upstream
        until(lambda: not vpc_route(mixed, aws), 5, "the VPC's route goes with BFD")
    finally:
        for member in MEMBERS:
            mixed.mesh("lab", "heal", member)
    for city in ("lax", "ord"):
        for address in APP.values():
            until(
                lambda box=f"client-{city}", to=address, by=SERVED_BY[city]: (  # type: ignore[misc]
                    mixed.whoami(box, to) == by
                ),
                60,
                f"{SERVED_BY[city]} is back, from its own disk",
            )
    until(lambda: vpc_route(mixed, aws), 30, "the VPC's route is back")


def answers(mixed: Mixed, box: str, address: str, *nodes: str) -> None:
    """Wait until one of these nodes answers a box at an address."""
    what = f"{' or '.join(nodes)} answers {box} at {address}"
    until(lambda: mixed.whoami(box, address) in nodes, SETTLED, what)


def known(mixed: Mixed) -> bool:
    """Whether a reflector has the application's addresses from any of its clients."""
    command = ("birdc", 'show route where proto ~ "mate*"')
    routes = mixed.exec("ewr-vultr-1", *command)
    return any(f"{address}/" in routes for address in APP.values())


def vpc_route(mixed: Mixed, upstream: str) -> bool:
    """Whether a VPC's own routing leads to its member; else the aggregate is the Internet's."""
    return "172.31." in mixed.exec(upstream, "ip", "route", "show", AGGREGATES["ipv4"])
