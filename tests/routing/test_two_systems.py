"""Packets in a network of two systems: three nodes on Debian and one on OpenBSD, Miami, each with a
BIRD that reads its rendered files and a kernel that forwards.

Linux stands in for OpenBSD's kernel. Where pf leads a packet to table 1, a rule does.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from mesh.lab import namespaces
from mesh.netns import inside
from mesh.plan import Node
from mesh.render.systems import system_of
from tests.kit.machine import IMAGES
from tests.kit.stacks import plan_of, prod
from tests.kit.systems import OPENBSD
from tests.kit.wait import patience, until
from tests.routing.test_failover import EWR, LAX, MIA, ORD, Mesh

pytestmark = pytest.mark.image
PORT, CLIENT = 5353, {4: "198.51.100.7", 6: "2001:db8:c::7"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Forwarding(Mesh):
    """With an Internet around it, at which a client is: what it sends to the service comes in at
    the node that :meth:`enters` names."""

    @property
    def internet(self) -> str:
        return self.space("net")

    def __enter__(self) -> Forwarding:
        namespaces.create([self.internet])
        super().__enter__()
        own = [f"address add {CLIENT[4]}/32 dev lo", f"address add {CLIENT[6]}/128 dev lo nodad"]
        namespaces.ip(["link set lo up", *own], self.internet)
        for node in self.plan.nodes:
            self._uplink(node)
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        namespaces.delete([self.internet])

    def _uplink(self, node: Node) -> None:
        space, n = self.space(node.id), node.number
        ends = f"type veth peer name to{n} netns {self.internet}"
        namespaces.ip([f"link add uplink {ends}"], space)
        for where, name, last in ((space, "uplink", 1), (self.internet, f"to{n}", 2)):
            namespaces.ip([
                f"address add 100.64.{n}.{last}/24 dev {name}",
                f"address add 2001:db8:{n}::{last}/64 dev {name} nodad",
                f"link set {name} up",
            ], where)  # fmt: skip
        rules = [f"rule add pref {pref} lookup {table}" for pref, table in self._lookups(node)]
        default = [f"route add default via 100.64.{n}.2", f"route add ::/0 via 2001:db8:{n}::2"]
        for family in ("-4", "-6"):
            for rule in (*rules, "rule del pref 0 lookup local"):
                namespaces.run(["ip", "-n", space, family, *rule.split()])
        namespaces.ip(default, space)
        inside(space, _forwards)

    def _lookups(self, node: Node) -> tuple[tuple[int, int | str], ...]:
        return ((1, system_of(node).names.services_table), (2, "local"))

    def _wire(self, node: Node) -> None:
        """As through WireGuard, nobody is asked for an address on a link: both ends have one."""
        super()._wire(node)
        for link in node.links:
            peer = self.plan.node(link.peer)
            if node.number < peer.number:
                (back,) = [each for each in peer.links if each.peer == node.id]
                mac = f"02:00:00:00:{node.number:02x}:{peer.number:02x}"
                for end, space in ((link, self.space(node.id)), (back, self.space(peer.id))):
                    namespaces.ip([f"link set {end.interface} address {mac} arp off"], space)

    def enters(self, node: str) -> None:
        """Where the client's packets come in from now on."""
        n = self.plan.node(node).number
        via = {4: f"100.64.{n}.1", 6: f"2001:db8:{n}::1"}
        for address in self._web:
            way = f"route replace {address}/{address.max_prefixlen} via {via[address.version]}"
            namespaces.ip([way], self.internet)

    def answers(self, version: int, seconds: float = 0.05) -> str:
        """Which node answers the client; empty where none does within so many seconds."""
        address = next(str(each) for each in self._web if each.version == version)
        with inside(self.internet, partial(socket.socket, FAMILY[version], socket.SOCK_DGRAM)) as s:
            s.settimeout(seconds)
            s.bind((CLIENT[version], 0))
            with suppress(OSError):
                s.sendto(b"?", (address, PORT))
                return s.recv(100).decode()
        return ""

    def is_answered(self, at: dict[str, str]) -> bool:
        """Whether the client is answered so, in both families, by the node at which it comes in."""
        for entrance, who in at.items():
            self.enters(entrance)
            if {self.answers(version, 0.5) for version in FAMILY} != {who}:
                return False
        return True

    def outage(self, entrance: str, version: int, act: threading.Thread, seconds: float) -> float:
        """The longest time without an answer to the client, while something is done."""
        self.enters(entrance)
        until(lambda: self.answers(version), 5, "it is answered")
        act.start()
        longest, last, end = 0.0, time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < end:
            if self.answers(version):
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
        act.join()
        return max(longest, time.monotonic() - last)


def _forwards() -> None:
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", name).write_text("1")
    for path in Path("/proc/sys/net/ipv4/conf").glob("*/rp_filter"):
        path.write_text("0")
    for path in Path("/proc/sys/net/ipv4/conf").glob("*/accept_local"):
        path.write_text("1")


@contextmanager
def daemons(network: Forwarding) -> Iterator[None]:
    """Each node answers at every address with its name, to whom its kernel hands a packet."""
    with ExitStack() as stack:
        for node in network.plan.nodes:
            for address in network._web:
                kind = partial(_listening, str(address), address.version)
                one = stack.enter_context(inside(network.space(node.id), kind))
                threading.Thread(target=_answer, args=(one, node.id), daemon=True).start()
                stack.callback(partial(_wake, one))
        yield


def _listening(address: str, version: int) -> socket.socket:
    made = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
    made.setsockopt(*_FREEBIND[version], 1)
    made.bind((address, PORT))
    return made


_FREEBIND = {4: (socket.SOL_IP, 15), 6: (socket.IPPROTO_IPV6, 78)}
"""So that a daemon may bind an address before the node has it (ip(7), ipv6(7))."""


def _answer(one: socket.socket, name: str) -> None:
    with suppress(OSError):
        while (who := one.recvfrom(10)[1]) is not None:
            one.sendto(name.encode(), who)


def _wake(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forwarding]:
    folder = tmp_path_factory.mktemp("two")
    with Forwarding(plan_of(prod()), folder, IMAGES, system=OPENBSD) as made, daemons(made):
        made.serve("add", LAX)
        yield made


def test_clients_are_answered_by_the_nearest_node_that_serves(network: Forwarding) -> None:
    """Miami, on OpenBSD, has the service's addresses at all times, and hands on what it does not
    serve."""
    everywhere = dict.fromkeys((LAX, ORD, MIA, EWR), LAX)
    until(lambda: network.is_answered(everywhere), 20, "Los Angeles answers all")
    network.serve("add", MIA)
    near = {LAX: LAX, ORD: MIA, MIA: MIA, EWR: MIA}
    until(lambda: network.is_answered(near), 10, "Miami answers its neighbours")
    network.serve("del", MIA)
    until(lambda: network.is_answered(everywhere), 10, "and Los Angeles again")


@pytest.mark.parametrize("version", [4, 6])
def test_a_cut_tunnel_of_it_costs_less_than_a_second(network: Forwarding, version: int) -> None:
    until(lambda: network.is_answered({MIA: LAX}), 20, "Los Angeles answers in Miami")
    cut = threading.Thread(target=network.cut, args=(MIA, LAX))
    gone = network.outage(MIA, version, cut, 1.2)
    heal = threading.Thread(target=network.heal, args=(MIA, LAX))
    back = network.outage(MIA, version, heal, 2)
    assert gone < patience(1.0) and back < patience(1.0)
