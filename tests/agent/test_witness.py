"""A node examines others during a rollout: it sees what they do for clients and for the mesh, and
no longer sees what they have lost. In namespaces, with tunnels between three nodes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from mesh import netns
from mesh.agent.config import Config, Underlay, UnderlayLink, UnderlayNode
from mesh.agent.host import Host
from mesh.agent.witness.witness import Witness, pace
from mesh.lab import namespaces
from mesh.trust.documents import RolloutOrder, Witnessed
from mesh.trust.encoding import b64
from tests.kit.namespaces import address_line, spaces
from tests.kit.tunnels import MTU, Tunnels
from tests.kit.wait import until

pytestmark = pytest.mark.root

PROVIDER = "provider"
HERE, ASKED, THIRD = "lax-1", "ord-1", "mia-1"
NUMBERS = {HERE: 1, ASKED: 2, THIRD: 3}
PORT = 8443
MESH = {
    f"{name} ipv{version}"
    for name in ("tunnel", "announced", "transit", "detour")
    for version in (4, 6)
}
NO_TRANSIT = """
table inet witness {
    chain forward {
        type filter hook forward priority 0;
        ip daddr 192.0.2.0/24 drop
        ip6 daddr 2001:db8:a::/48 drop
    }
}
"""
NO_REGISTRY = """
table inet witness {
    chain input { type filter hook input priority 0; tcp dport 8443 drop; }
}
"""
NOTHING_COMES_IN = """
table inet witness {
    chain prerouting {
        type filter hook prerouting priority -310;
        iifname "enp1s0" ip6 daddr 2001:db8:a::/48 drop
    }
}
"""
NO_PING = """
table inet witness {
    chain input {
        type filter hook input priority 0;
        ip daddr 192.0.2.0/24 drop
    }
}
"""


def tunnel(node: str) -> tuple[str, str]:
    """Its tunnel addresses."""
    return f"10.10.10.{NUMBERS[node]}", f"fd00:10::{NUMBERS[node]}"


def announced(node: str) -> tuple[str, str]:
    """Its announced addresses."""
    return f"192.0.2.{NUMBERS[node]}", f"2001:db8:a::{NUMBERS[node]}"


def interface(peer: str) -> str:
    """The interface of the tunnel to a node."""
    return f"wg-{peer}"


def config() -> Config:
    """Of the node that examines."""
    others = (ASKED, THIRD)
    nodes = tuple(
        UnderlayNode(n, 4200000000 + k, tuple(map(ip_address, (*tunnel(n), *announced(n)))))
        for n, k in NUMBERS.items()
    )
    pairs = ((HERE, ASKED), (HERE, THIRD), (ASKED, THIRD))
    return Config(
        node=HERE,
        region="lax",
        interface="dummy0",
        aggregates=(ip_network("192.0.2.0/24"), ip_network("2001:db8:a::/48")),
        mates=tuple(IPv4Address(tunnel(other)[0]) for other in others),
        services=(),
        whoami=False,
        underlay=Underlay(nodes, tuple(UnderlayLink(pair, 10) for pair in pairs)),
        tunnels=tuple(map(interface, others)),
    )


def order(number: int = 1, about: str = ASKED, *, everyone: bool = False) -> RolloutOrder:
    """That this node examines another one, or itself."""
    witnesses: dict[str, tuple[str, ...]] = {about: (HERE,)}
    return RolloutOrder("net", number, 7, "0" * 64, everyone=everyone, witnesses=witnesses)


@dataclass
class Mesh:
    """The namespaces of the nodes, and the tunnels between them."""

    spaces: dict[str, str]
    tunnels: Tunnels
    folder: Path

    def ip(self, node: str, *lines: str) -> None:
        """Runs lines of iproute2 at a node."""
        namespaces.ip(lines, self.spaces[node])

    @contextmanager
    def firewall(self, node: str, rules: str) -> Iterator[None]:
        """A node with these rules for a while."""
        namespaces.nft(rules, self.spaces[node])
        try:
            yield
        finally:
            namespaces.nft("delete table inet witness", self.spaces[node])

    @contextmanager
    def witness(self, first: RolloutOrder | None = None) -> Iterator[Witness]:
        """A witness that runs at the node that examines."""
        host = Host(self.folder, tuple(netns.entering(self.spaces[HERE])))
        made = Witness(host, lambda: [f"https://{tunnel(ASKED)[0]}:{PORT}"], lambda: None)
        stop = threading.Event()
        thread = threading.Thread(
            target=netns.inside, args=(self.spaces[HERE], lambda: made.run(stop))
        )
        thread.start()
        made.watch(config())
        made.obey(first or order())
        try:
            yield made
        finally:
            stop.set()
            thread.join()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds are shorter than a network needs."""
    monkeypatch.setattr("mesh.agent.witness.witness.ROUND", 0.1)
    monkeypatch.setattr("mesh.agent.witness.witness.STOPS_WITHIN", 0.05)
    monkeypatch.setattr("mesh.agent.witness.witness.REFRESH", 0.5)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Three nodes, each with a tunnel to the others."""
    folder = tmp_path_factory.mktemp("witness")
    with spaces("witness", *NUMBERS, PROVIDER) as names:
        made = Mesh(dict(zip((*NUMBERS, PROVIDER), names, strict=True)), Tunnels(), folder)
        try:
            _build(made)
            yield made
        finally:
            made.tunnels.close()


def _build(mesh: Mesh) -> None:
    for node, space in list(mesh.spaces.items())[:-1]:
        own = [address_line(a, "lo") for a in (*tunnel(node), *announced(node))]
        mesh.ip(node, "link set lo up", *own)
        namespaces.sysctl(space, {"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"})
    nodes = list(NUMBERS)
    for one, other in [(a, b) for a in nodes for b in nodes if NUMBERS[a] < NUMBERS[b]]:
        ends = (mesh.spaces[one], interface(other)), (mesh.spaces[other], interface(one))
        mesh.tunnels.between(*ends)
        for here, there in ((one, other), (other, one)):
            for which in (tunnel, announced):
                for target, source in zip(which(there), tunnel(here), strict=True):
                    mesh.ip(here, f"route add {target} dev {interface(there)} src {source}")
    _connect(mesh)
    path = mesh.folder / "etc/wireguard" / f"{interface(ASKED)}.conf"
    path.parent.mkdir(parents=True)
    peer = f"PublicKey = {b64(bytes(32))}\nEndpoint = {tunnel(ASKED)[0]}:51820"
    path.write_text(f"[Interface]\nListenPort = 51820\n\n[Peer]\n{peer}\n")


def _connect(mesh: Mesh) -> None:
    """Each node has an uplink to the provider's router, which sends back to a node what that sends
    for the network's prefix: it announces it."""
    provider = mesh.spaces[PROVIDER]
    namespaces.sysctl(provider, {"ipv6/conf/all/forwarding": "1"})
    for node, number in NUMBERS.items():
        net, link = f"2001:db8:{number}:", f"to-{node}"
        mesh.ip(node, f"link add enp1s0 type veth peer name {link} netns {provider}")
        mesh.ip(PROVIDER, f"link set {link} up", f"address add {net}:fe/64 dev {link} nodad")
        mesh.ip(
            node,
            "link set enp1s0 up",
            f"address add {net}:1/64 dev enp1s0 nodad",
            f"route add default via {net}:fe",
        )
        mesh.ip(PROVIDER, f"route add 2001:db8:a::/48 via {net}:1 dev {link} table {number}")
        rule = f"-6 rule add iif {link} lookup {number} preference 10"
        namespaces.run(["ip", "-n", provider, *rule.split()])


def names(witness: Witness, about: str = ASKED) -> set[str]:
    """What it sees at a node."""
    return set(witness.seen().get(about, Witnessed(0, ("nothing yet",))).seen)


def sees(witness: Witness, expected: set[str], about: str = ASKED) -> None:
    """It sees this and nothing else, within a few rounds."""
    until(lambda: names(witness, about) == expected, 3, f"it sees {sorted(expected)} and no more")


def test_a_node_that_works_is_seen_in_both_families(mesh: Mesh) -> None:
    with mesh.witness() as witness:
        sees(witness, MESH)


def test_what_a_firewall_does_not_pass_on_any_more_is_gone_and_the_tunnel_stays(
    mesh: Mesh,
) -> None:
    with mesh.witness() as witness:
        sees(witness, MESH)
        with mesh.firewall(ASKED, NO_TRANSIT):
            sees(witness, MESH - {"transit ipv4", "transit ipv6"})
        sees(witness, MESH)


def test_a_node_that_forwards_nothing_has_neither_transit_nor_detours(mesh: Mesh) -> None:
    with mesh.witness() as witness:
        sees(witness, MESH)
        namespaces.sysctl(mesh.spaces[ASKED], {"ipv6/conf/all/forwarding": "0"})
        try:
            sees(witness, MESH - {"transit ipv6", "detour ipv6"})
        finally:
            namespaces.sysctl(mesh.spaces[ASKED], {"ipv6/conf/all/forwarding": "1"})
        sees(witness, MESH)


def test_an_announced_address_that_does_not_answer_is_gone(mesh: Mesh) -> None:
    with mesh.witness() as witness:
        sees(witness, MESH)
        with mesh.firewall(ASKED, NO_PING):
            sees(witness, MESH - {"announced ipv4"})


def test_a_tunnel_that_loses_large_packets_is_gone(mesh: Mesh) -> None:
    with mesh.witness() as witness:
        sees(witness, MESH)
        mesh.tunnels.most = MTU - 20
        try:
            sees(witness, MESH - {"tunnel ipv4", "tunnel ipv6"})
        finally:
            mesh.tunnels.most = MTU


def test_a_tunnel_that_is_smaller_at_the_other_end_works(mesh: Mesh) -> None:
    """Between the two generations of a change of MTU: the answers come in fragments."""
    with mesh.witness() as witness:
        mesh.ip(ASKED, f"link set {interface(HERE)} mtu {MTU - 40}")
        try:
            sees(witness, MESH)
            rounds = witness.seen()[ASKED].rounds
            until(lambda: witness.seen()[ASKED].rounds > rounds + 3, 2, "some more rounds")
            sees(witness, MESH)
        finally:
            mesh.ip(ASKED, f"link set {interface(HERE)} mtu {MTU}")


def test_a_registry_is_seen_while_new_connections_to_it_open(mesh: Mesh) -> None:
    with _listening(mesh), mesh.witness() as witness:
        sees(witness, MESH | {"registry"})
        with mesh.firewall(ASKED, NO_REGISTRY):
            sees(witness, MESH)
        sees(witness, MESH | {"registry"})
    with mesh.witness() as witness:
        sees(witness, MESH)


@contextmanager
def _listening(mesh: Mesh) -> Iterator[None]:
    def listen() -> socket.socket:
        made = socket.create_server((tunnel(ASKED)[0], PORT))
        made.listen(128)
        return made

    with netns.inside(mesh.spaces[ASKED], listen):
        yield


def test_a_node_sees_by_itself_what_comes_in_at_its_uplink(mesh: Mesh) -> None:
    with mesh.witness(order(about=HERE)) as witness:
        sees(witness, {"uplink ipv6"}, HERE)
        with mesh.firewall(HERE, NOTHING_COMES_IN):
            sees(witness, set(), HERE)
        sees(witness, {"uplink ipv6"}, HERE)


def test_nothing_is_examined_without_an_order_or_once_everyone_follows(mesh: Mesh) -> None:
    with mesh.witness(order(1, everyone=True)) as witness:
        assert witness.seen() == {}
        witness.obey(order(2))
        sees(witness, MESH)
        witness.obey(order(3, everyone=True))
        assert witness.seen() == {}
        until(lambda: not witness._records[ASKED].lately, 3, "the last round has ended")
        before = _sent(mesh)
        witness.obey(None)
        witness.watch(config())
        assert _sent(mesh) == before
        witness.obey(order(4))
        sees(witness, MESH)


def _sent(mesh: Mesh) -> int:
    """Packets that have left by the tunnel to the node that is asked."""
    shown = namespaces.run(
        ["ip", "-n", mesh.spaces[HERE], "-s", "-j", "link", "show", interface(ASKED)]
    )
    sent: int = json.loads(shown)[0]["stats64"]["tx"]["packets"]
    return sent


def test_rounds_go_on_from_one_order_to_the_next(mesh: Mesh) -> None:
    with mesh.witness() as witness:
        sees(witness, MESH)
        first = witness.seen()[ASKED].rounds
        witness.obey(order(2))
        until(lambda: witness.seen()[ASKED].rounds >= first + 3, 2, "rounds go on")


def test_each_round_is_reported(mesh: Mesh) -> None:
    reported: list[int] = []
    with mesh.witness() as witness:
        witness._changed = lambda: reported.append(witness.seen().get(ASKED, Witnessed(0)).rounds)
        until(lambda: len(reported) >= 5, 3, "five rounds")
    numbers = [n for n in reported if n]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(
    ("nodes", "age", "seconds"), [(16, 1.0, 0.1), (200, 1.0, 1.0), (16, 900.0, 5.0)]
)
def test_many_witnesses_or_an_old_order_make_fewer_rounds(
    nodes: int, age: float, seconds: float
) -> None:
    """A registry gets the reports of all of them; the operator may have gone away."""
    names = [f"n-{number}" for number in range(nodes)]
    witnesses: dict[str, tuple[str, ...]] = {name: (names[0], name) for name in names}
    assert pace(replace(order(), witnesses=witnesses), age) == seconds
