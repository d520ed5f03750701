"""Tunnels that change their ports, node by node: real WireGuard between two rendered nodes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count, permutations
from pathlib import Path

import pytest

from mesh import netns
from mesh.agent.daemons import ChangedNode, FileChange, wireguard
from mesh.agent.host import Host
from mesh.agent.units import Systemd
from mesh.bird.client import Bird
from mesh.facts import Facts
from mesh.lab import namespaces
from mesh.plan import Plan
from mesh.plan.transition import expanded
from mesh.render import node_files, placeholder_facts
from tests.kit.bird import FIRST
from tests.kit.machine import Machine
from tests.kit.namespaces import spaces
from tests.kit.stacks import bent, plan_of, prod
from tests.kit.wait import until

pytestmark = pytest.mark.image
LAX, ORD, EWR = "lax-vultr-1", "ord-vultr-1", "ewr-vultr-1"
KEY = "/var/lib/anycast-mesh/keys/wireguard.key"
GAP = 0.2
"""Seconds between a node's new firewall and its tunnels' new ports: longer than an agent takes."""
ROOM = 16 << 20
"""Bytes of a socket's buffer: a packet of a few takes some hundred there, and on a busy machine
thousands come before they are read."""
BFD = 3784
"""A port that each node lets the other one reach through the tunnel."""


@dataclass(frozen=True)
class End:
    """A node with its tunnel to the other one."""

    machine: Machine
    space: str
    node: str
    peer: str

    def apply(self, plan: Plan, facts: Mapping[str, Facts]) -> None:
        """A plan's firewall, and its tunnel a while later, as the agent does it."""
        unit = f"anycast-mesh-tunnel@wg-{self.peer}.service"
        host = Host(self.machine.root, self.machine.enter)
        bird = Bird(host.path("/run/bird/bird.ctl"))
        node = ChangedNode(host, Systemd(host), bird, (unit,), frozenset({unit}))
        path = f"/etc/wireguard/wg-{self.peer}.conf"
        old = host.read(path)
        self._put(plan, facts)
        self.machine.output("nft", "-f", "/etc/nftables.conf")
        time.sleep(GAP)
        wireguard.KIND.apply(node, [FileChange(path, old, host.read(path))])

    def start(self, plan: Plan, facts: Mapping[str, Facts]) -> None:
        self._put(plan, facts)
        self.machine.output("nft", "-f", "/etc/nftables.conf")
        userspace = "WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go"
        self.machine.output(*FIRST, "env", userspace, "wg-quick", "up", f"wg-{self.peer}")
        peer = plan.node(self.peer).tunnel.ipv4
        namespaces.ip([f"route add {peer}/32 dev wg-{self.peer}"], self.space)

    def _put(self, plan: Plan, facts: Mapping[str, Facts]) -> None:
        wanted = ("/etc/nftables.conf", f"/etc/wireguard/wg-{self.peer}.conf")
        files = node_files(plan, facts)[self.node].files
        self.machine.put([file for file in files if file.path in wanted])


class Traffic(threading.Thread):
    """Numbered packets to the other end, until ``stop`` is set."""

    def __init__(self, own: socket.socket) -> None:
        super().__init__()
        self._own = own
        self.stop = threading.Event()
        self.sent: set[int] = set()

    def run(self) -> None:
        for number in count():
            if self.stop.wait(0.01):
                return
            self.sent.add(number)
            with suppress(OSError):
                self._own.send(str(number).encode())

    def arrived(self) -> set[int]:
        """The numbers of the packets that have come in."""
        found: set[int] = set()
        self._own.settimeout(0.5)
        with suppress(OSError):
            while True:
                found.add(int(self._own.recv(20)))
        return found


@dataclass(frozen=True)
class Pair:
    """Two nodes on one wire, which have the plan before."""

    ends: tuple[End, End]
    facts: Mapping[str, Facts]
    plans: tuple[Plan, ...]

    @contextmanager
    def watched(self) -> Iterator[list[int]]:
        """A packet every 10 ms through the tunnel from both ends; how many of each are lost, after
        the block."""
        lost: list[int] = []
        with ExitStack() as stack:
            sockets = [stack.enter_context(self.socket(end)) for end in self.ends]
            threads = [Traffic(own) for own in sockets]
            for thread in threads:
                thread.start()
            try:
                yield lost
            finally:
                for thread in threads:
                    thread.stop.set()
            for thread in threads:
                thread.join()
            for sender, receiver in permutations(threads, 2):
                lost.append(len(sender.sent - receiver.arrived()))

    def socket(self, end: End) -> socket.socket:
        """A socket at an end of the tunnel, connected to the other end's."""
        nodes = (self.plans[0].node(end.node), self.plans[0].node(end.peer))
        here, there = ((str(node.tunnel.ipv4), BFD) for node in nodes)

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            # Room for all that comes in before it is read.
            made.setsockopt(socket.SOL_SOCKET, 33, ROOM)  # SO_RCVBUFFORCE
            made.bind(here)
            made.connect(there)
            made.setblocking(False)
            return made

        return netns.inside(end.space, make)

    def speaks(self) -> bool:
        """Whether a packet gets through in both directions."""
        with ExitStack() as stack:
            sockets = [stack.enter_context(self.socket(end)) for end in self.ends]
            heard = []
            for own, other in permutations(sockets, 2):
                other.settimeout(0.5)
                with suppress(OSError):
                    own.send(b"?")
                    heard.append(other.recv(9))
            return len(heard) == 2

    def ports(self) -> list[tuple[int, int]]:
        """At each end the tunnel's port, and the one that it sends to."""
        found = []
        for end in self.ends:
            own = end.machine.output("wg", "show", f"wg-{end.peer}", "listen-port")
            other = end.machine.output("wg", "show", f"wg-{end.peer}", "endpoints")
            found.append((int(own), int(other.strip().rpartition(":")[2])))
        return found


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with _between(tmp_path, LAX, ORD) as made:
        yield made


@contextmanager
def _between(folder: Path, one: str, other: str) -> Iterator[Pair]:
    """Two nodes whose tunnel is up, with the plan before."""
    before, after = plan_of(prod()), plan_of(bent("tunnels/port", 51821))
    between = expanded(before, after)
    assert between is not None
    with spaces("ports", "one", "other") as names, ExitStack() as stack:
        ends = []
        for (node, peer), space in zip(((one, other), (other, one)), names, strict=True):
            machine = Machine(folder / node, space)
            stack.callback(machine.close)
            ends.append(End(machine, space, node, peer))
        facts = _wired(before, (ends[0], ends[1]))
        for end in ends:
            end.start(before, facts)
        made = Pair((ends[0], ends[1]), facts, (before, between, after))
        until(made.speaks, 10, "the tunnel is up")
        yield made


def _wired(plan: Plan, ends: tuple[End, End]) -> dict[str, Facts]:
    """The facts of both, with keys of their own, once a wire is between their uplinks."""
    stand_ins = placeholder_facts(plan)
    facts = {}
    one, other = ends
    namespaces.ip([f"link add enp1s0 type veth peer name enp1s0 netns {other.space}"], one.space)
    for end in ends:
        private = end.machine.output("wg", "genkey").strip()
        end.machine.output("sh", "-c", f"mkdir -p $(dirname {KEY}) && echo {private} >{KEY}")
        public = end.machine.output("sh", "-c", f"wg pubkey <{KEY}").strip()
        facts[end.node] = replace(stand_ins[end.node], wireguard=public)
    for end in ends:
        namespaces.ip(
            [
                "link set lo up", "link set enp1s0 up",
                f"address add {facts[end.node].ipv4}/32 dev enp1s0",
                f"route add {facts[end.peer].ipv4} dev enp1s0",
            ],
            end.space,
        )  # fmt: skip
    return facts


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["one first", "the other first"])
def test_tunnels_change_their_ports_node_by_node_and_go_on(
    pair: Pair, order: tuple[int, int]
) -> None:
    """The kernel opens the new socket first. wireguard-go, here, closes the old one first, with
    what it has not read yet: a packet may be lost each time that its configuration is set."""
    _, between, after = pair.plans
    with pair.watched() as lost:
        for plan in (between, after):
            for end in order:
                pair.ends[end].apply(plan, pair.facts)
                time.sleep(0.3)
    assert all(each <= 2 for each in lost), lost
    assert pair.ports() == [(51822, 51821), (51821, 51822)]


def test_without_a_plan_between_the_tunnel_is_dead_until_both_have_the_new_port(
    pair: Pair,
) -> None:
    """Nothing is under way meanwhile: a packet that comes in late says where the other end is."""
    for end, works in zip(pair.ends, (False, True), strict=True):
        time.sleep(GAP)
        end.apply(pair.plans[-1], pair.facts)
        if works:
            until(pair.speaks, 5, "the tunnel is up")
        else:
            assert not pair.speaks()


def _other_tunnel(end: End, port: int) -> socket.socket:
    """What stands for another tunnel of a node."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", port))
        return made

    return netns.inside(end.space, make)


def test_a_former_port_that_another_tunnel_has_now_leads_to_its_own_tunnel(tmp_path: Path) -> None:
    """All ports change by one: what was that of the tunnel is another one's now, at both ends."""
    with _between(tmp_path, ORD, EWR) as pair, ExitStack() as stack:
        between = pair.plans[1]
        facts = {**placeholder_facts(between), **pair.facts}
        for end in pair.ends:
            end.apply(between, facts)
            links = {link.peer: link for link in between.node(end.node).links}
            former = links.pop(end.peer).former_port
            ports = [link.port for link in links.values()]
            assert former in ports
            for port in ports:
                stack.enter_context(_other_tunnel(end, port))
            until(pair.speaks, 5, f"the tunnel is up once {end.node} has the plan between")
