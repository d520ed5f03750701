"""What the kernel of a node does with packets, by its rendered settings and firewall."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest

from mesh import netns
from mesh.agent.daemons.oneshots import started
from mesh.agent.host import Host
from mesh.agent.witness.echoes import TOKEN, Echo, Echoes
from mesh.lab import namespaces
from mesh.render import File, node_files, placeholder_facts, placeholder_placements
from mesh.render.services import SERVICES_TABLE
from mesh.services.checks.check import Target
from mesh.services.checks.tcp import TcpCheck
from tests.kit.machine import Debian
from tests.kit.namespaces import settle, spaces
from tests.kit.stacks import example, plan_of
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.image
MEMBER, EDGE = "ord-gcp-1", "ord-vultr-1"
TUNNEL = {MEMBER: "10.10.10.6", EDGE: "10.10.10.2"}
OWN = {MEMBER: "172.31.0.5", EDGE: "203.0.113.2"}
NEIGHBOUR, CLIENT = "172.31.0.99", "198.51.100.2"
FAR = {MEMBER: NEIGHBOUR, EDGE: CLIENT}
"""Who is on a node's uplink: one who lives in the member's VPC, and a client of the edge's."""
APP, WEB, MEMBERS, NOBODYS = "192.30.120.102", "192.30.120.100", "192.30.120.3", "192.30.121.200"
PORT = 443


@dataclass(frozen=True)
class NodeBetweenLinks:
    """A node between its uplink and its tunnel to a peer that serves the application, each a
    namespace of its own."""

    machine: Debian
    own: str
    node: str
    uplink: str
    mate: str


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NodeBetweenLinks]:
    """A node's bench. Its tunnel is older than the settings, as one that runs already is."""
    node: str = request.param
    with spaces("packets", "node", "uplink", "mate") as names:
        made = NodeBetweenLinks(Debian(tmp_path), node, *names)
        _wire(made, node)
        _configure(made, node)
        yield made


at_the_member = pytest.mark.parametrize("bench", [MEMBER], indirect=True)
at_the_edge = pytest.mark.parametrize("bench", [EDGE], indirect=True)


def _wire(bench: NodeBetweenLinks, node: str) -> None:
    (mate,) = {MEMBER, EDGE} - {node}
    tunnel = f"wg-{mate}"
    namespaces.ip(
        [
            "link set lo up", "link add dummy0 type bridge", "link set dummy0 up",
            f"link add enp1s0 type veth peer name enp1s0 netns {bench.uplink}",
            f"link add {tunnel} type veth peer name wg-node netns {bench.mate}",
            "link set enp1s0 up", f"address add {OWN[node]}/32 dev enp1s0",
            f"link set {tunnel} up", f"address add {TUNNEL[node]}/32 dev {tunnel}",
            f"route add {FAR[node]} dev enp1s0", f"route add default via {FAR[node]}",
            "route add blackhole 192.30.120.0/23",
            f"route add {APP} via {TUNNEL[mate]} dev {tunnel} onlink",
        ],
        bench.node,
    )  # fmt: skip
    ends = (
        (bench.uplink, "enp1s0", [FAR[node]], OWN[node]),
        (bench.mate, "wg-node", [TUNNEL[mate], APP], TUNNEL[node]),
    )
    for space, link, addresses, gateway in ends:
        settle(space, link, addresses, [])
        namespaces.ip([f"route add default via {gateway} dev {link} onlink"], space)


def _configure(bench: NodeBetweenLinks, node: str) -> None:
    plan = plan_of(example("mixed"), "mixed")
    files = node_files(plan, placeholder_facts(plan), placeholder_placements(plan))
    bench.machine.put(files[node].files)
    for command in (
        ("sysctl", "-q", "-p", "/etc/sysctl.d/99-anycast-mesh.conf"),
        ("nft", "-f", "/etc/nftables.conf"),
    ):
        bench.machine.must(*command, namespace=bench.node)
    host = Host(prefix=("ip", "netns", "exec", bench.node))
    unit = next(f for f in files[node].files if f.path.endswith("-services.service"))
    for line in started(unit.content.encode()):
        host.run(*line)
    (mate,) = {MEMBER, EDGE} - {node}
    elsewhere = f"{APP} via {TUNNEL[mate]} dev wg-{mate} onlink table {SERVICES_TABLE}"
    namespaces.ip([f"route replace {elsewhere}"], bench.node)


def bind(bench: NodeBetweenLinks, address: str, verb: str = "add") -> None:
    """The node serves at this address from now on, or no longer (``del``): BIRD's next choice is
    the peer's instance then."""
    lines = [f"address {verb} {address}/32 dev dummy0"]
    if address == APP:
        (mate,) = {MEMBER, EDGE} - {bench.own}
        other = {"add": "del", "del": "add"}[verb]
        way = f"{APP} via {TUNNEL[mate]} dev wg-{mate} onlink"
        lines.append(f"route {other} {way} table {SERVICES_TABLE}")
    namespaces.ip(lines, bench.node)


def opened(space: str, source: str, port: int = 0) -> socket.socket:
    """A UDP socket there, in any address's name."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT
        made.bind((source, port))
        made.settimeout(1)
        return made

    return netns.inside(space, make)


def heard_as(sender: socket.socket, receiver: socket.socket) -> str:
    """What source a packet has when it arrives; empty where it does not."""
    sender.sendto(b"?", receiver.getsockname())
    try:
        return str(receiver.recvfrom(10)[1][0])
    except TimeoutError:
        return ""


@at_the_edge
@pytest.mark.parametrize("source", [WEB, MEMBERS], ids=["bound here", "discarded here"])
def test_a_members_replies_leave_at_an_edge_whatever_it_knows_of_their_source(
    bench: NodeBetweenLinks, source: str
) -> None:
    bind(bench, WEB)
    with opened(bench.mate, source) as member, opened(bench.uplink, CLIENT, PORT) as client:
        assert heard_as(member, client) == source


@at_the_edge
def test_nobody_sends_through_an_edge_as_who_is_no_member(bench: NodeBetweenLinks) -> None:
    with opened(bench.mate, NOBODYS) as mate, opened(bench.uplink, CLIENT, PORT) as client:
        assert heard_as(mate, client) == ""


@at_the_edge
@pytest.mark.parametrize(
    ("source", "heard"),
    [(CLIENT, CLIENT), ("172.31.0.99", ""), ("100.64.0.1", ""), (WEB, ""), ("10.10.10.7", "")],
)
def test_only_who_can_be_answered_comes_in_from_the_internet(
    bench: NodeBetweenLinks, source: str, heard: str
) -> None:
    with opened(bench.uplink, source) as client, opened(bench.mate, APP, PORT) as server:
        assert heard_as(client, server) == heard


@at_the_member
@pytest.mark.parametrize(
    ("source", "heard"), [(CLIENT, CLIENT), (TUNNEL[EDGE], TUNNEL[EDGE]), (NEIGHBOUR, "")]
)
def test_a_private_source_out_of_the_mesh_is_a_mates_or_nobodys(
    bench: NodeBetweenLinks, source: str, heard: str
) -> None:
    bind(bench, WEB)
    with opened(bench.mate, source) as edge, opened(bench.node, WEB, PORT) as server:
        assert heard_as(edge, server) == heard


@at_the_member
def test_who_lives_in_the_vpc_is_translated_once_his_service_has_moved_to_a_mate(
    bench: NodeBetweenLinks,
) -> None:
    with opened(bench.uplink, NEIGHBOUR) as neighbor:
        bind(bench, APP)
        with opened(bench.node, APP, PORT) as here:
            assert heard_as(neighbor, here) == NEIGHBOUR
        bind(bench, APP, "del")
        with opened(bench.mate, APP, PORT) as there:
            assert heard_as(neighbor, there) == TUNNEL[MEMBER]


@at_the_member
def test_who_lives_in_the_vpc_hears_why_a_mate_does_not_answer(bench: NodeBetweenLinks) -> None:
    with opened(bench.uplink, NEIGHBOUR) as neighbor:
        neighbor.connect((APP, PORT))
        neighbor.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            neighbor.recv(10)


@at_the_edge
def test_a_check_meets_the_daemon_that_clients_meet_and_no_container_behind_nat(
    bench: NodeBetweenLinks,
) -> None:
    """Packets of clients are not tracked, so no NAT leads them to a published container."""
    bind(bench, WEB)
    published = f"ip daddr {WEB} tcp dport {PORT} dnat to 127.0.0.1:8080"
    hooks = (("prerouting", -100), ("output", -100))
    chains = "".join(
        f"chain {hook} {{\n type nat hook {hook} priority {order};\n {published}\n}}\n"
        for hook, order in hooks
    )
    bench.machine.put([File("/etc/docker.nft", f"table ip docker {{\n{chains}}}\n")])
    bench.machine.must("nft", "-f", "/etc/docker.nft", namespace=bench.node)
    target = Target(ip_address(WEB), EDGE)
    check = TcpCheck(port=PORT, timeout=PATIENCE)
    with netns.inside(bench.node, lambda: socket.create_server(("127.0.0.1", 8080))):
        assert netns.inside(bench.node, lambda: check.problem(target)) == "connection refused"
    with netns.inside(bench.node, lambda: socket.create_server((WEB, PORT))):
        assert netns.inside(bench.node, lambda: check.problem(target)) == ""


@at_the_edge
def test_a_flood_of_pings_takes_nothing_from_those_of_other_nodes(bench: NodeBetweenLinks) -> None:
    """By which they examine one another during a rollout."""
    bind(bench, WEB)
    namespaces.ip([f"route add {TUNNEL[MEMBER]} dev wg-{MEMBER}"], bench.node)
    ends = (bench.uplink, CLIENT), (bench.mate, TUNNEL[MEMBER])
    client, mate = (
        (netns.inside(space, Echoes), Echo(ip_address(source), ip_address(WEB), 64))
        for space, source in ends
    )
    for number in range(600):
        client[0].send(client[1], bytes(TOKEN))
        if number >= 500:
            mate[0].send(mate[1], bytes(TOKEN))
    found: list[object] = []

    def all_answered() -> bool:
        found.extend(mate[0].received())
        return len(found) == 100

    until(all_answered, 3, "each of the mate's is answered")
    assert len(list(client[0].received())) < 500, "the limit is reached"
    for echoes, _ in (client, mate):
        echoes.close()


# --- what is discarded ---------------------------------------------------------------------------


def discard(bench: NodeBetweenLinks, address: str, timeout: str = "10m") -> None:
    """The agent's word to the firewall."""
    element = f"{{ {address} timeout {timeout} }}"
    command = ("nft", "add", "element", "inet", "mesh_discard", "addresses4", element)
    bench.machine.must(*command, namespace=bench.node)


@pytest.mark.parametrize(
    ("bench", "far"), [(EDGE, CLIENT), (MEMBER, NEIGHBOUR)], indirect=["bench"], ids=[EDGE, MEMBER]
)
def test_what_is_for_an_address_that_is_given_up_ends_at_the_door(
    bench: NodeBetweenLinks, far: str
) -> None:
    """Bound here or at a peer, wherever it came in; others pass."""
    bind(bench, WEB)
    with (
        opened(bench.node, WEB, PORT) as here,
        opened(bench.mate, APP, PORT) as there,
        opened(bench.uplink, far) as client,
        opened(bench.mate, CLIENT) as forwarded,
    ):
        assert heard_as(client, here) == far
        assert heard_as(client, there) != ""
        discard(bench, WEB)
        assert heard_as(client, here) == ""
        assert heard_as(forwarded, here) == "", "nor over a tunnel"
        assert heard_as(client, there) != "", "another address"
        discard(bench, APP)
        assert heard_as(client, there) == "", "forwarded no more"


@at_the_edge
def test_what_is_discarded_ends_by_itself_and_outlives_a_new_ruleset(
    bench: NodeBetweenLinks,
) -> None:
    bind(bench, WEB)
    with (
        opened(bench.node, WEB, PORT) as here,
        opened(bench.mate, APP, PORT) as there,
        opened(bench.uplink, CLIENT) as client,
    ):
        discard(bench, WEB)
        discard(bench, APP, "2s")
        _configure(bench, EDGE)
        assert heard_as(client, here) == "", "the next generation has come"
        until(lambda: heard_as(client, there), 8, "it ends")


@at_the_edge
def test_a_node_goes_on_checking_a_service_that_is_given_up(bench: NodeBetweenLinks) -> None:
    """Else it would withdraw for it."""
    bind(bench, WEB)
    discard(bench, WEB)
    with opened(bench.node, WEB, PORT) as here, opened(bench.node, WEB) as check:
        assert heard_as(check, here) == WEB
