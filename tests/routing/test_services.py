"""A node whose instance of a service is down forwards packets for it to another node's instance,
whatever its own daemons listen to; where there is none, its own daemon answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

import pytest

from mesh.agent import announce_state
from mesh.lab.namespaces import ip
from mesh.netns import inside
from mesh.render.services import SERVICES_TABLE
from tests.kit.edge.whole import EDGE, SERVED, WholeEdge
from tests.kit.machine import BIRDS, IMAGES
from tests.kit.stacks import two_services
from tests.kit.wait import PATIENCE, patience, until

pytestmark = pytest.mark.image
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ADDRESS = {version: prefixes[0].split("/")[0] for version, prefixes in SERVED.items()}
PORT, HEALTH = 80, 81
CLIENT = {4: "198.51.100.7", 6: "2001:db8:c::7"}
DIRECT = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:d::1", "2001:db8:d::2")}
"""The mate's way to the client, and the client's end of it."""
HERE, THERE = b"here", b"there"
RESET = b"reset"

LISTENING = {
    "IPv4 wildcard": [(4, "0.0.0.0")],
    "IPv6 wildcard, both families": [(0, "::")],
    "IPv6 wildcard alone": [(6, "::")],
    "loopback": [(4, "127.0.0.1"), (6, "::1")],
    "the service's addresses": [(4, ADDRESS[4]), (6, ADDRESS[6])],
}
"""How a daemon listens; family 0 is IPv6's socket for both."""


def opened(version: int, kind: int, address: str, port: int) -> socket.socket:
    """A socket that listens."""
    made = socket.socket(FAMILIES[version or 6], kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if version != 4:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(version == 6))
    made.bind((address, port))
    if kind == TCP:
        made.listen(64)
    return made


def answer(listening: socket.socket, name: bytes) -> None:
    """Says its name to whoever asks, and keeps connections open."""
    kept = []
    with suppress(OSError):
        while True:
            if listening.type == TCP:
                kept.append(listening.accept()[0])
                kept[-1].sendall(name)
            elif (who := listening.recvfrom(10)[1]) is None:
                break  # it was shut down
            else:
                listening.sendto(name, who)
    for each in kept:
        each.close()


@contextmanager
def daemon(
    space: str, name: bytes, ways: list[tuple[int, str]], port: int = PORT
) -> Iterator[None]:
    """A daemon that listens in these ways, by TCP and UDP, and says its name."""
    with ExitStack() as stack:
        for version, address in ways:
            for kind in (TCP, UDP):
                one = inside(space, partial(opened, version, kind, address, port))
                stack.callback(one.close)
                # A thread that waits holds the socket: it is to be woken.
                stack.callback(partial(_wake, one))
                threading.Thread(target=answer, args=(one, name), daemon=True).start()
        yield


def _wake(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@dataclass
class Served:
    """An edge between a client and a mate; both serve, and the mate's instance is always up."""

    edge: WholeEdge

    @property
    def node(self) -> str:
        return self.edge.spaces["node"]

    @property
    def client(self) -> str:
        return self.edge.spaces["upstream"]

    def asked(
        self, space: str, version: int, kind: int, source: int = 0, seconds: float = PATIENCE
    ) -> bytes:
        """Who answers there at the service's address; empty where nobody does, and ``RESET`` where
        the connection ends so."""
        with inside(space, partial(socket.socket, FAMILIES[version], kind)) as one:
            one.settimeout(seconds)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if space == self.client:
                    one.bind((CLIENT[version], source))
                one.connect((ADDRESS[version], PORT))
                one.send(b"?")
                return one.recv(10)
            except ConnectionResetError:
                return RESET
            except OSError:
                return b""

    def every(
        self, who: bytes, versions: tuple[int, ...] = (4, 6), seconds: float = PATIENCE
    ) -> bool:
        """Whether that one answers the client and the node itself."""
        return all(
            self.asked(space, version, kind, seconds=seconds) == who
            for space in (self.client, self.node)
            for version in versions
            for kind in (TCP, UDP)
        )

    def serving(self) -> dict[int, bool]:
        """Whether the node serves, by family."""
        assert self.edge.agent is not None
        web = self.edge.agent.families()["web"]
        return {4: web["ipv4"], 6: web["ipv6"]}

    def looked_up(self, version: int) -> bool:
        """Whether the way to the mate is there."""
        shown = self.edge.machine.output(
            "ip", f"-{version}", "route", "show", "table", str(SERVICES_TABLE)
        )
        return ADDRESS[version] in shown

    def becomes(self, **wanted: bool) -> None:
        """Waits until the node serves these families, and the kernel goes by it."""
        versions = {int(name[-1]): up for name, up in wanted.items()}
        until(lambda: self.serving() == versions, 10, f"{versions}")
        ways = {version: not up for version, up in versions.items()}
        until(lambda: {v: self.looked_up(v) for v in (4, 6)} == ways, 10, f"ways {ways}")


def wired(edge: WholeEdge) -> None:
    """The client behind the upstream, and the mate's own way to it."""
    upstream, mate = edge.spaces["upstream"], edge.spaces["mate"]
    own = edge.facts[EDGE]
    for version, gateway in ((4, own.ipv4), (6, own.ipv6)):
        here, there = DIRECT[version]
        length = 24 if version == 4 else 64
        quiet = " nodad" if version == 6 else ""
        most = ip_address(ADDRESS[version]).max_prefixlen
        if version == 4:
            ip([f"link add direct type veth peer name direct netns {mate}"], upstream)
        ip(
            [
                "link set direct up",
                f"address add {there}/{length} dev direct{quiet}",
                f"address add {CLIENT[version]}/{most} dev direct{quiet}",
                f"route add {ADDRESS[version]}/{most} via {gateway}",
            ],
            upstream,
        )
        ip(
            [
                "link set direct up",
                f"address add {here}/{length} dev direct{quiet}",
                f"address add {ADDRESS[version]}/{most} dev lo{quiet}",
                f"route add {'0.0.0.0/0' if version == 4 else '::/0'} via {there}",
            ],
            mate,
        )


def services() -> dict[str, object]:
    """The service answers by TCP and UDP, and its health is another port's."""
    found = two_services()["services"]
    found["web"]["ports"] = {"tcp": [PORT], "udp": [PORT]}
    found["web"]["checks"] = [{"kind": "tcp", "port": HEALTH, "interval": 0.1, "timeout": 10}]
    return {"services": found}


@pytest.fixture(scope="module", params=BIRDS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """An edge and its mate, with firewall, settings and agent."""
    edge = WholeEdge(tmp_path_factory.mktemp("served"), request.param, services())
    try:
        wired(edge)
        for command in (
            ("sysctl", "-q", "-p", "/etc/sysctl.d/99-anycast-mesh.conf"),
            ("nft", "-f", "/etc/nftables.conf"),
        ):
            edge.machine.output(*command)
        edge.machine.start_bird()
        edge.join()
        edge.start_agent()
        with daemon(edge.spaces["mate"], THERE, LISTENING["the service's addresses"]):
            made = Served(edge)
            made.becomes(ipv4=False, ipv6=False)
            until(lambda: made.every(THERE, seconds=1.0), 10, "links have all their addresses")
            yield made
    finally:
        edge.close()


@contextmanager
def healthy(served: Served, *ways: tuple[int, str]) -> Iterator[None]:
    """The node's own instance is healthy in the families of these ways."""
    with daemon(served.node, b"", list(ways or LISTENING["IPv6 wildcard, both families"]), HEALTH):
        yield


@pytest.mark.parametrize("way", LISTENING)
def test_while_its_instance_is_down_a_node_forwards_whatever_its_daemons_listen_to(
    served: Served, way: str
) -> None:
    with daemon(served.node, HERE, LISTENING[way]):
        assert served.every(THERE)


def test_a_family_whose_instance_is_down_moves_alone(served: Served) -> None:
    with daemon(served.node, HERE, LISTENING["the service's addresses"]):
        with healthy(served, (4, "0.0.0.0")):
            served.becomes(ipv4=True, ipv6=False)
            assert served.every(HERE, (4,)) and served.every(THERE, (6,))
        with healthy(served, (6, "::")):
            served.becomes(ipv4=False, ipv6=True)
            assert served.every(THERE, (4,)) and served.every(HERE, (6,))
        served.becomes(ipv4=False, ipv6=False)


@pytest.mark.parametrize("version", FAMILIES)
def test_after_a_move_open_connections_are_reset_and_used_ports_work(
    served: Served, version: int
) -> None:
    source = 40000 + version
    with daemon(served.node, HERE, LISTENING["the service's addresses"]):
        with healthy(served):
            served.becomes(ipv4=True, ipv6=True)
            held = inside(served.client, partial(_held, version))
            assert served.asked(served.client, version, TCP, source) == HERE
        served.becomes(ipv4=False, ipv6=False)
        held.sendall(b"?")
        with pytest.raises(ConnectionResetError):
            held.recv(10)
        held.close()
        assert served.asked(served.client, version, TCP, source) == THERE


def _held(version: int) -> socket.socket:
    """A connection that has been answered, and stays."""
    made = socket.socket(FAMILIES[version], TCP)
    made.settimeout(patience(10))
    made.bind((CLIENT[version], 0))
    made.connect((ADDRESS[version], PORT))
    assert made.recv(10) == HERE
    return made


def test_a_drain_and_its_end_lose_no_answer(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But of a connection that opens in the moment of the move of its family: it is reset at its
    request, as open ones are, and its client asks again."""
    monkeypatch.setattr(announce_state, "SHUTDOWN", 0.2)
    agent = served.edge.agent
    assert agent is not None
    answers: list[bytes] = []

    def moved(who: bytes) -> bool:
        """Asks in between as well, while nobody has moved yet."""
        found = [
            served.asked(served.client, version, kind) for version in (4, 6) for kind in (TCP, UDP)
        ]
        answers.extend(found)
        return found == [who] * 4

    with daemon(served.node, HERE, LISTENING["the service's addresses"]), healthy(served):
        served.becomes(ipv4=True, ipv6=True)
        for wanted, who in ((True, THERE), (False, HERE)):
            agent.drain(wanted)
            until(partial(moved, who), 15, f"drain {wanted}", nap=0.005)
    assert set(answers) - {RESET} == {HERE, THERE}
    assert answers.count(RESET) <= 4, "one for each move of a family"
    served.becomes(ipv4=False, ipv6=False)


def test_where_no_instance_is_known_the_nodes_own_daemon_answers(served: Served) -> None:
    """Checks that fail everywhere, as wrong ones do, take nobody's service away."""
    with daemon(served.node, HERE, LISTENING["the service's addresses"]):
        served.edge.leave()
        try:
            until(lambda: not served.looked_up(4) and not served.looked_up(6), 15, "nobody serves")
            assert served.serving() == {4: False, 6: False}
            for version in FAMILIES:
                for kind in (TCP, UDP):
                    answers = [served.asked(served.client, version, kind) for _ in range(25)]
                    assert answers == [HERE] * 25
        finally:
            served.edge.join()
    served.becomes(ipv4=False, ipv6=False)


@pytest.mark.parametrize("served", [IMAGES], indirect=True)
@pytest.mark.parametrize("kind", [TCP, UDP])
def test_a_check_of_a_node_that_is_down_reaches_its_own_daemon_and_no_other(
    served: Served, kind: int
) -> None:
    def asked(version: int) -> bytes:
        made: Callable[[], socket.socket] = partial(socket.socket, FAMILIES[version], kind)
        with inside(served.node, made) as one:
            one.settimeout(PATIENCE)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            one.bind(("127.0.0.1" if version == 4 else "::1", 0))
            try:
                one.connect((ADDRESS[version], PORT))
                one.send(b"?")
                return one.recv(10)
            except OSError:
                return b""

    with daemon(served.node, HERE, LISTENING["the service's addresses"]):
        assert [asked(4), asked(6)] == [HERE, HERE]
    with daemon(served.node, HERE, LISTENING["loopback"]):
        assert [asked(4), asked(6)] == [b"", b""]
    assert [asked(4), asked(6)] == [b"", b""]


@pytest.mark.parametrize("served", [IMAGES], indirect=True)
def test_checks_ask_at_loopback_until_a_generation_binds_the_addresses(served: Served) -> None:
    """A generation of an earlier version, under which a new bundle runs for a while, has them
    nowhere but where they are served."""
    bound = {f"{ADDRESS[4]}/32": "scope host", f"{ADDRESS[6]}/128": "nodad preferred_lft 0"}
    ip([f"address del {address} dev lo" for address in bound], served.node)
    served.edge.watch()
    with healthy(served, *LISTENING["loopback"]):
        until(lambda: served.serving() == {4: True, 6: True}, 10, "it serves")
        ip([f"address add {address} dev lo {how}" for address, how in bound.items()], served.node)
        assert served.edge.agent is not None
        served.edge.agent.look_soon()
        served.becomes(ipv4=False, ipv6=False)
