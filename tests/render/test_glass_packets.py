"""Who reaches the looking glass: connections from each place around a node, by its firewall. What
listens has every address, so that nothing but the firewall keeps somebody out."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from mesh import netns
from mesh.lab import namespaces
from mesh.plan import Plan
from mesh.render import node_files, placeholder_facts, placeholder_placements
from tests.kit.machine import Debian
from tests.kit.namespaces import address_line, settle, spaces
from tests.kit.stacks import example, plan_of
from tests.kit.wait import PATIENCE, until

pytestmark = pytest.mark.image
MEMBER, EDGE = "ord-gcp-1", "ord-vultr-1"
GLASS, WEB = 8080, 443
TUNNEL = {
    MEMBER: {4: "10.10.10.6", 6: "fd00:10:10::6"},
    EDGE: {4: "10.10.10.2", 6: "fd00:10:10::2"},
}
ANNOUNCED = {
    MEMBER: {4: "192.30.120.13", 6: "2620:71:4000::13"},
    EDGE: {4: "192.30.120.9", 6: "2620:71:4000::9"},
}
OWN = {
    MEMBER: {4: "172.31.0.5", 6: "2001:db8:31::5"},
    EDGE: {4: "203.0.113.2", 6: "2001:db8:64::2"},
}
FAR = {
    MEMBER: {4: "172.31.0.99", 6: "2001:db8:31::99"},
    EDGE: {4: "198.51.100.2", 6: "2001:db8:64::99"},
}
"""Who is on a node's uplink: one who lives in the member's VPC, and a client of the edge's."""
ELSEWHERE = {4: "198.51.100.77", 6: "2001:db8:77::77"}
"""A client who comes in at the peer, and is passed on over the tunnel."""
LINK_LOCAL = "fe80::99"
SERVICE = {4: "192.30.120.100", 6: "2620:71:4000::100"}


@dataclass(frozen=True)
class Surroundings:
    """A node between its uplink and its tunnel to a peer, each a namespace of its own."""

    name: str
    node: str
    uplink: str
    mate: str

    @property
    def peer(self) -> str:
        """The id of the node at the other end of the tunnel."""
        return EDGE if self.name == MEMBER else MEMBER


def plan(public: bool) -> Plan:
    """The network of the example, whose members are in a VPC."""
    return plan_of(example("mixed") | {"glass": {"public": public}}, "mixed")


@contextmanager
def around(name: str, public: bool, folder: Path) -> Iterator[Surroundings]:
    """A node with its firewall, where everybody listens and a client's answers find back."""
    what = f"{'public' if public else 'glass'}-{name}"
    with spaces(what, "node", "uplink", "mate") as names, ExitStack() as ends:
        made = Surroundings(name, *names)
        _wire(made)
        network = plan(public)
        files = node_files(network, placeholder_facts(network), placeholder_placements(network))
        machine = Debian(folder)
        machine.put(files[name].files)
        for command in (
            ("sysctl", "-q", "-p", "/etc/sysctl.d/99-anycast-mesh.conf"),
            ("nft", "-f", "/etc/nftables.conf"),
        ):
            machine.must(*command, namespace=made.node)
        for space in (made.node, made.mate):
            for port in (GLASS, WEB):
                ends.enter_context(_listening(space, port))
        yield made


def _wire(bench: Surroundings) -> None:
    tunnel, own, peer = f"wg-{bench.peer}", bench.name, bench.peer
    namespaces.ip(
        [
            "link set lo up", "link add dummy0 type bridge", "link set dummy0 up",
            f"link add enp1s0 type veth peer name enp1s0 netns {bench.uplink}",
            f"link add {tunnel} type veth peer name wg-node netns {bench.mate}",
            "link set enp1s0 up", f"link set {tunnel} up",
        ],
        bench.node,
    )  # fmt: skip
    settle(bench.node, "enp1s0", OWN[own].values(), FAR[own].values())
    settle(bench.node, "dummy0", [*ANNOUNCED[own].values(), *SERVICE.values()], [])
    there = [*TUNNEL[peer].values(), *ANNOUNCED[peer].values(), *ELSEWHERE.values()]
    settle(bench.node, tunnel, TUNNEL[own].values(), there)
    settle(bench.uplink, "enp1s0", [*FAR[own].values(), LINK_LOCAL], OWN[own].values())
    settle(bench.mate, "wg-node", there, TUNNEL[own].values())
    for space, link in ((bench.uplink, "enp1s0"), (bench.mate, "wg-node")):
        gateway = OWN[own] if space == bench.uplink else TUNNEL[own]
        lines = [f"route add default via {gateway[v]} dev {link} onlink" for v in (4, 6)]
        namespaces.ip(lines, space)


@contextmanager
def _listening(space: str, port: int) -> Iterator[None]:
    """Every address of a namespace answers at a port."""
    server = netns.inside(
        space,
        lambda: socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True),
    )

    def answer() -> None:
        while True:
            try:
                connection, source = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(
                    str(source[0]).removeprefix("::ffff:").partition("%")[0].encode()
                )

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


def heard_as(space: str, source: str, address: str, port: int = GLASS, seconds: float = 1.0) -> str:
    """As whom somebody is heard at an address; empty where nobody answers for so many seconds."""

    def ask() -> str:
        scope = socket.if_nametoindex("enp1s0") if source.startswith("fe80") else 0
        family = socket.AF_INET6 if ":" in source else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.bind((source, 0, 0, scope) if scope else (source, 0))
            try:
                connection.connect((address, port))
                return connection.recv(100).decode()
            except OSError:
                return ""

    return netns.inside(space, ask)


answered_as = partial(heard_as, seconds=PATIENCE)
"""The same where somebody is to answer: he may have no processor for a second."""


def all_heard_as(space: str, source: str, addresses: list[str]) -> list[str]:
    """The same for several addresses at once: silence is waited for."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(partial(heard_as, space, source), addresses))


def passed_over(space: str, source: str, address: str) -> int:
    """How many of a hundred connections, begun at once, get no answer before they ask again."""

    def ask() -> int:
        with ExitStack() as opened:
            calling = select.poll()
            for _ in range(100):
                family = socket.AF_INET6 if ":" in source else socket.AF_INET
                connection = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
                connection.setblocking(False)
                connection.bind((source, 0))
                connection.connect_ex((address, GLASS))
                calling.register(connection, select.POLLOUT)
            left, end = 100, time.monotonic() + 0.5
            while left and (rest := end - time.monotonic()) > 0:
                for answered, _ in calling.poll(rest * 1000):
                    calling.unregister(answered)
                    left -= 1
            return left

    return netns.inside(space, ask)


@pytest.fixture(params=[4, 6], ids=["IPv4", "IPv6"])
def family(request: pytest.FixtureRequest) -> int:
    """An IP version."""
    version: int = request.param
    return version


@pytest.fixture(scope="module")
def private_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with around(EDGE, False, tmp_path_factory.mktemp("private-edge")) as bench:
        yield bench


@pytest.fixture(scope="module")
def private_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with around(MEMBER, False, tmp_path_factory.mktemp("private-member")) as bench:
        yield bench


@pytest.fixture(scope="module")
def public_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with around(EDGE, True, tmp_path_factory.mktemp("public-edge")) as bench:
        yield bench


@pytest.fixture(scope="module")
def public_member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    with around(MEMBER, True, tmp_path_factory.mktemp("public-member")) as bench:
        yield bench


def own_addresses(bench: Surroundings, family: int) -> list[str]:
    """All addresses of the node: the provider's, in the tunnels, announced, and of a service."""
    return [
        OWN[bench.name][family], TUNNEL[bench.name][family], ANNOUNCED[bench.name][family],
        SERVICE[family],
    ]  # fmt: skip


# --- for the mesh alone --------------------------------------------------------------------------


def test_a_peer_reaches_it_in_the_tunnel_and_at_the_announced_address(
    private_edge: Surroundings, family: int
) -> None:
    bench = private_edge
    peer = TUNNEL[bench.peer][family]
    for address in (TUNNEL[bench.name][family], ANNOUNCED[bench.name][family]):
        assert answered_as(bench.mate, peer, address) == peer


def test_a_client_reaches_it_at_no_address_of_an_edge(
    private_edge: Surroundings, family: int
) -> None:
    bench = private_edge
    client = FAR[bench.name][family]
    assert answered_as(bench.uplink, client, SERVICE[family], WEB) == client
    assert all_heard_as(bench.uplink, client, own_addresses(bench, family)) == [""] * 4


def test_nor_through_an_edge_at_another_node(private_edge: Surroundings, family: int) -> None:
    bench = private_edge
    client, other = FAR[bench.name][family], ANNOUNCED[bench.peer][family]
    assert answered_as(bench.uplink, client, other, WEB) == client
    assert heard_as(bench.uplink, client, other) == ""
    assert heard_as(bench.uplink, client, TUNNEL[bench.peer][family]) == ""


def test_nor_does_a_client_who_came_in_at_another_edge(
    private_edge: Surroundings, family: int
) -> None:
    bench = private_edge
    client = ELSEWHERE[family]
    assert answered_as(bench.mate, client, SERVICE[family], WEB) == client
    assert all_heard_as(bench.mate, client, own_addresses(bench, family)) == [""] * 4


def test_nor_does_a_client_in_a_nodes_name(private_edge: Surroundings, family: int) -> None:
    bench = private_edge
    forged = TUNNEL[bench.peer][family]
    namespaces.ip([address_line(forged, "lo")], bench.uplink)
    assert all_heard_as(bench.uplink, forged, own_addresses(bench, family)) == [""] * 4


def test_nor_does_a_neighbor_of_the_uplink(private_edge: Surroundings) -> None:
    bench = private_edge
    assert answered_as(bench.uplink, LINK_LOCAL, SERVICE[6], WEB) == LINK_LOCAL
    assert all_heard_as(bench.uplink, LINK_LOCAL, own_addresses(bench, 6)) == [""] * 4


def test_nor_does_who_lives_in_the_vpc_of_a_member(
    private_member: Surroundings, family: int
) -> None:
    bench = private_member
    inhabitant = FAR[bench.name][family]
    addresses = [*own_addresses(bench, family), ANNOUNCED[bench.peer][family]]
    assert all_heard_as(bench.uplink, inhabitant, addresses) == [""] * 5


def test_who_lives_in_the_vpc_looks_like_the_member_to_a_peers_services(
    private_member: Surroundings,
) -> None:
    bench = private_member
    heard = answered_as(bench.uplink, FAR[MEMBER][4], ANNOUNCED[bench.peer][4], WEB)
    assert heard == TUNNEL[MEMBER][4], "so that only the member itself can keep him out"


def test_a_member_reaches_a_peers_and_is_reached(private_member: Surroundings, family: int) -> None:
    bench = private_member
    own, peer = TUNNEL[bench.name][family], TUNNEL[bench.peer][family]
    for address in (TUNNEL[bench.peer][family], ANNOUNCED[bench.peer][family]):
        assert answered_as(bench.node, own, address) == own
    assert answered_as(bench.mate, peer, own) == peer


def test_the_node_reaches_its_own_everywhere(private_edge: Surroundings, family: int) -> None:
    bench = private_edge
    loopback = {4: "127.0.0.1", 6: "::1"}[family]
    assert answered_as(bench.node, loopback, loopback) == loopback
    own = ANNOUNCED[bench.name][family]
    assert answered_as(bench.node, own, own) == own


# --- public --------------------------------------------------------------------------------------


def test_a_public_one_answers_a_client_at_announced_addresses_alone(
    public_edge: Surroundings, family: int
) -> None:
    bench = public_edge
    client = FAR[bench.name][family]
    for address in (ANNOUNCED[bench.name][family], SERVICE[family]):
        assert answered_as(bench.uplink, client, address) == client
    for address in (OWN[bench.name][family], TUNNEL[bench.name][family]):
        assert heard_as(bench.uplink, client, address) == ""


def test_a_public_one_answers_a_client_who_came_in_at_another_edge(
    public_edge: Surroundings, family: int
) -> None:
    bench = public_edge
    assert answered_as(bench.mate, ELSEWHERE[family], ANNOUNCED[bench.name][family])
    assert heard_as(bench.mate, ELSEWHERE[family], TUNNEL[bench.name][family]) == ""


def test_a_public_one_answers_who_lives_in_the_vpc_of_a_member(
    public_member: Surroundings,
) -> None:
    bench = public_member
    heard = answered_as(bench.uplink, FAR[MEMBER][4], ANNOUNCED[bench.peer][4])
    assert heard == TUNNEL[MEMBER][4]


def test_a_public_one_limits_the_new_connections_of_each_source(
    public_edge: Surroundings, family: int
) -> None:
    bench = public_edge
    greedy, other = FAR[bench.name][family], ELSEWHERE[family]
    address = ANNOUNCED[bench.name][family]
    assert passed_over(bench.uplink, greedy, address) > 0
    assert answered_as(bench.mate, other, address) == other
    assert answered_as(bench.uplink, greedy, SERVICE[family], WEB) == greedy
    until(lambda: heard_as(bench.uplink, greedy, address), 10, "he may ask again")
