"""A node between its uplink and its tunnels: the same addresses and routes for both kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from ipaddress import ip_address, ip_network

from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan
from mesh.render import File, node_files, placeholder_facts, placeholder_placements
from tests.kit.stacks import example, plan_of
from tests.pf.judge import Decision, Pf
from tests.pf.packets import Packet
from tests.pf.reader import read
from tests.pf.rules import Address, Ruleset

NODE, PEER, MEMBER = "ord-vultr-1", "lax-vultr-1", "ord-gcp-1"
"""An edge; an edge that serves what it does not; and a member, whose replies leave at it."""
UPLINK, LOOPBACK = "uplink", "lo"
HERE = ""
"""Where a packet ends that is for the node itself."""
LOST = None
"""What becomes of one that is dropped."""
End = str | None


@dataclass(frozen=True, slots=True)
class World:
    """What the node has. ``served`` are the services' addresses that it serves, of ``services``,
    all of which are bound; nobody serves those of ``lost``, and ``discarded`` are under attack."""

    plan: Plan
    served: tuple[str, ...]
    lost: tuple[str, ...] = ()
    discarded: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[str, ...]:
        """The addresses of the services that this node may serve."""
        node = self.plan.node(NODE)
        named = [each for each in self.plan.services if each.name in node.services]
        return tuple(str(address) for each in named for address in each.addresses.both())

    @property
    def own(self) -> tuple[Address, ...]:
        """All addresses of its interfaces but of loopback's, the services' among them."""
        node = self.plan.node(NODE)
        facts = placeholder_facts(self.plan)[NODE]
        addresses = [facts.ipv4, facts.ipv6, *node.announced.both(), *node.tunnel.both()]
        addresses += [ip_address(each) for each in self.services]
        addresses += [*self.plan.exits.both(), node.links[0].local]
        return tuple(each for each in addresses if each is not None)

    @property
    def routes(self) -> tuple[tuple[str, End], ...]:
        """Networks and where they are: at the ends of tunnels, nowhere, or behind the uplink."""
        peers = {PEER: self.plan.node(PEER), MEMBER: self.plan.node(MEMBER)}
        ways: list[tuple[str, End]] = [
            (str(address), name)
            for name, peer in peers.items()
            for address in (*peer.announced.both(), *peer.tunnel.both())
        ]
        ways += [(str(prefix), LOST) for prefix in self.plan.owned]
        return (*ways, ("0.0.0.0/0", UPLINK), ("::/0", UPLINK))

    @property
    def elsewhere(self) -> tuple[tuple[str, End], ...]:
        """The services that the peer serves and this node does not."""
        here = (*self.served, *self.lost)
        return tuple((each, PEER) for each in self.services if each not in here)


def plan(system: OperatingSystem) -> Plan:
    """The network of examples/Pulumi.mixed.yaml, with one node of that system."""
    keys = example("mixed")
    keys["nodes"][NODE]["os"] = str(system)
    return plan_of(keys, "mixed")


@cache
def files(system: OperatingSystem) -> tuple[File, ...]:
    """The node's files."""
    made = plan(system)
    facts = placeholder_facts(made)
    facts[NODE] = replace(facts[NODE], os=system, uplink=UPLINK)
    return node_files(made, facts, placeholder_placements(made))[NODE].files


def pf_conf() -> str:
    """The node's pf.conf."""
    (content,) = (f.content for f in files(OperatingSystem.OPENBSD) if f.path == "/etc/pf.conf")
    return content


@dataclass
class OpenBSD:
    """The node as OpenBSD: pf, and around it the kernel's routing (sys/netinet/ip_input.c): what
    is for the node is known by the routing table that pf chose."""

    world: World
    ruleset: Ruleset

    def __post_init__(self) -> None:
        self._own = frozenset(self.world.own)
        # What nobody else serves leads back to the node (hostname.lo1), over loopback. The peer
        # serves all others, also those that the node serves.
        lost = self.world.lost
        elsewhere = [(each, HERE if each in lost else PEER) for each in self.world.services]
        ways = (self.world.routes, tuple(elsewhere))
        self._tables = [[(ip_network(each), end) for each, end in table] for table in ways]
        tunnels = {PEER: ("wg",), MEMBER: ("wg",)}
        self.pf = Pf(
            self.ruleset,
            self._own,
            {UPLINK: (), LOOPBACK: ("lo",)} | tunnels,
            {
                "mesh_served": self.world.served,
                "mesh_discard4": [each for each in self.world.discarded if ":" not in each],
                "mesh_discard6": [each for each in self.world.discarded if ":" in each],
            },
        )

    def received(self, packet: Packet, interface: str) -> End:
        """Where a packet ends that comes in there."""
        first = self.pf.decide(packet, "in", interface)
        if not first.passes:
            return LOST
        way = self._way(packet.destination, first.rtable)
        if way is LOST or way == HERE:
            return way
        other_link = way != interface and packet.source.startswith("fe80")
        if packet.hops == 1 or other_link:  # no router forwards either (RFC 4291, 2.5.6)
            return LOST
        second = self.pf.decide(packet, "out", way, came=interface, tag=first.tag)
        return way if second.passes else LOST

    def sent(self, packet: Packet) -> tuple[End, Decision]:
        """Where a packet of the node's own goes, and what pf says of it."""
        way = self._way(packet.destination, 0)
        if way is LOST:
            return LOST, Decision(False)
        decision = self.pf.decide(packet, "out", LOOPBACK if way == HERE else way)
        return (way if decision.passes else LOST), decision

    def _way(self, destination: str, table: int) -> End:
        """Where a routing table leads: HERE, an interface, or nowhere."""
        address = ip_address(destination)
        if address.is_multicast or address == ip_address("255.255.255.255"):
            return HERE
        if table == 0 and address in self._own:
            return HERE
        fitting = [way for way in self._tables[table] if address in way[0]]
        return max(fitting, key=lambda way: way[0].prefixlen, default=(None, LOST))[1]


def openbsd(world: World, conf: str | None = None) -> OpenBSD:
    """The node with its own rules, or with other ones."""
    return OpenBSD(world, read(pf_conf() if conf is None else conf))
