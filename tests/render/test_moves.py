"""What becomes of a node's clients when a service moves to a peer: by the node's rendered settings
and firewall, in its kernel."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress

import pytest

from mesh import netns
from mesh.lab import namespaces
from mesh.render.services import SERVICES_TABLE
from tests.render.test_packets import MEMBER, PORT, TUNNEL, NodeBetweenLinks, at_the_edge
from tests.render.test_packets import bench as bench

pytestmark = pytest.mark.image
SERVICE = {4: "192.30.120.100", 6: "2620:71:4000::100"}
CLIENT = {4: "198.51.100.2", 6: "2001:db8:c::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
PATIENCE = 5.0
both_families = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def node(bench: NodeBetweenLinks) -> NodeBetweenLinks:
    """An edge whose peer serves at the service's addresses; it serves there itself as well."""
    tunnel = f"wg-{MEMBER}"
    namespaces.ip(
        [
            "address add 2001:db8:c::1/64 dev enp1s0 nodad",
            f"address add fe80::1/64 dev {tunnel} nodad",
            f"route add {SERVICE[4]} via {TUNNEL[MEMBER]} dev {tunnel} onlink",
            f"route add {SERVICE[6]}/128 via fe80::2 dev {tunnel}",
        ],
        bench.node,
    )
    namespaces.ip(
        [
            "address add fe80::2/64 dev wg-node nodad", f"address add {SERVICE[4]}/32 dev wg-node",
            f"address add {SERVICE[6]}/128 dev wg-node nodad",
            "route add default via fe80::1 dev wg-node",
        ],
        bench.mate,
    )  # fmt: skip
    namespaces.ip(
        [
            f"address add {CLIENT[6]}/64 dev enp1s0 nodad",
            "route add default via 2001:db8:c::1 dev enp1s0",
        ],
        bench.uplink,
    )
    return bench


def serves(bench: NodeBetweenLinks, here: bool) -> None:
    """Whether the node itself serves at the service's addresses, or forwards what is for them: BIRD
    has the way to another instance in the table before the addresses that are bound."""
    ways = (
        f"{SERVICE[4]} via {TUNNEL[MEMBER]} dev wg-{MEMBER} onlink",
        f"{SERVICE[6]}/128 via fe80::2 dev wg-{MEMBER}",
    )
    for way in ways:
        line = f"route {'delete' if here else 'replace'} {way} table {SERVICES_TABLE}"
        namespaces.ip([line], bench.node)


def listening(space: str, version: int) -> socket.socket:
    """A daemon's socket there, at the service's address."""

    def make() -> socket.socket:
        made = socket.socket(FAMILY[version])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((SERVICE[version], PORT))
        made.listen()
        made.settimeout(PATIENCE)
        return made

    return netns.inside(space, make)


def calling(bench: NodeBetweenLinks, version: int, port: int = 0) -> socket.socket:
    """A client that has connected to the service, from that port where one is named."""

    def make() -> socket.socket:
        made = socket.socket(FAMILY[version])
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.settimeout(PATIENCE)
        made.bind((CLIENT[version], port))
        made.connect((SERVICE[version], PORT))
        return made

    return netns.inside(bench.uplink, make)


@at_the_edge
@both_families
def test_a_connection_that_is_held_open_is_reset_at_once(
    node: NodeBetweenLinks, version: int
) -> None:
    """Its daemon lives on, and its socket is no reason to keep what is forwarded now."""
    with ExitStack() as stack:
        here = stack.enter_context(listening(node.node, version))
        client = stack.enter_context(calling(node, version))
        held = stack.enter_context(here.accept()[0])
        held.sendall(b"here")
        assert client.recv(9) == b"here"
        serves(node, False)
        client.sendall(b"still here?")
        with pytest.raises(ConnectionResetError):
            client.recv(9)


@at_the_edge
@both_families
@pytest.mark.parametrize("dead", [False, True], ids=["daemon lives", "daemon died"])
def test_a_port_that_was_used_before_the_move_is_answered_after_it(
    node: NodeBetweenLinks, version: int, dead: bool
) -> None:
    """The node still remembers the connection (TIME_WAIT, RFC 9293, section 3.6.1)."""
    with ExitStack() as stack:
        here = stack.enter_context(listening(node.node, version))
        there = stack.enter_context(listening(node.mate, version))
        client = calling(node, version)
        port = client.getsockname()[1]
        here.accept()[0].close()  # first, so that the node waits
        assert client.recv(9) == b""
        client.close()
        if dead:
            here.close()
        serves(node, False)
        with calling(node, version, port) as again:
            answered = stack.enter_context(there.accept()[0])
            answered.sendall(b"there")
            assert again.recv(9) == b"there"


def arrives(client: socket.socket, daemon: socket.socket) -> bool:
    """Whether a datagram of the client's does, of those that are sent while we wait: the first may
    be lost where nobody knew the way's next hop."""
    daemon.settimeout(0.1)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        client.sendto(b"?", daemon.getsockname())
        with suppress(TimeoutError):
            return daemon.recv(9) == b"?"
    return False


@at_the_edge
@both_families
def test_a_datagram_for_a_socket_that_knows_its_client_is_forwarded_as_well(
    node: NodeBetweenLinks, version: int
) -> None:
    def bound(space: str, address: str, port: int) -> socket.socket:
        def make() -> socket.socket:
            made = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
            made.bind((address, port))
            return made

        return netns.inside(space, make)

    with (
        bound(node.node, SERVICE[version], PORT) as here,
        bound(node.mate, SERVICE[version], PORT) as there,
        bound(node.uplink, CLIENT[version], 40000) as client,
    ):
        here.connect((CLIENT[version], 40000))
        assert arrives(client, here)
        serves(node, False)
        assert arrives(client, there)
