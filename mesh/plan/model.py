"""The plan: frozen, serialisable values, independent of Pulumi, HTTP and daemons.

It holds what is known before a server exists; a running node adds its facts (:mod:`mesh.facts`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Literal

from mesh.operating_systems import OperatingSystem
from mesh.services.content import Content
from mesh.services.service import Service
from mesh.spec.alerting import ReceiverKind, Severity

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Family = Literal["ipv4", "ipv6"]
NeighborRole = Literal["provider", "peer", "routeServer"]


class Role(StrEnum):
    """What a node is in the network."""

    EDGE = "edge"
    """Has an upstream session and may announce the aggregates to the Internet."""
    MEMBER = "member"
    """Serves inside the mesh; its replies leave at an edge."""
    REFLECTOR = "reflector"
    """Reflects service routes between the nodes (RFC 4456)."""
    REGISTRY = "registry"
    """Relays the operator's signed generations."""
    MONITOR = "monitor"
    """Asks the looking glass of every node, and tells people of alerts."""


@dataclass(frozen=True, slots=True)
class AddressPair:
    """One host address of each family; None where the network, the node or the service has none."""

    ipv4: IPv4Address | None
    ipv6: IPv6Address | None

    def both(self) -> tuple[Address, ...]:
        """The addresses that exist, IPv4 first."""
        return tuple(each for each in (self.ipv4, self.ipv6) if each is not None)


@dataclass(frozen=True, slots=True)
class ServiceAddresses(AddressPair):
    """The addresses of a service: the first of each family, and ``more`` beside them."""

    more: tuple[Address, ...] = ()

    @staticmethod
    def of(addresses: Iterable[Address]) -> ServiceAddresses:
        """These addresses, of which the first ones of each family are the service's first."""
        ipv4 = [each for each in addresses if isinstance(each, IPv4Address)]
        ipv6 = [each for each in addresses if isinstance(each, IPv6Address)]
        return ServiceAddresses(
            next(iter(ipv4), None), next(iter(ipv6), None), (*ipv4[1:], *ipv6[1:])
        )

    def both(self) -> tuple[Address, ...]:
        """All of them, IPv4 first."""
        return tuple(sorted((*AddressPair.both(self), *self.more), key=lambda each: each.version))

    @property
    def most(self) -> int:
        """How many there are of the family that has more: a node has as many routes of a service in
        one session."""
        ipv6 = sum(each.version == 6 for each in self.both())
        return max(ipv6, len(self.both()) - ipv6)


@dataclass(frozen=True, slots=True)
class TunnelAddresses(AddressPair):
    """Addresses in the tunnel ranges, which have both families in every network."""

    ipv4: IPv4Address
    ipv6: IPv6Address


@dataclass(frozen=True, slots=True)
class PrefixPair:
    """One prefix of each family; None in a network without that family."""

    ipv4: IPv4Network | None
    ipv6: IPv6Network | None

    def both(self) -> tuple[Network, ...]:
        """The prefixes that exist, IPv4 first."""
        return tuple(each for each in (self.ipv4, self.ipv6) if each is not None)


@dataclass(frozen=True, slots=True)
class TunnelRanges(PrefixPair):
    """The ranges of the tunnel addresses, of both families in every network."""

    ipv4: IPv4Network
    ipv6: IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedService(Service):
    """A service, whose addresses every node of ``nodes`` may bind while its checks pass; its ports
    are in ascending order. ``names`` are the host names that a ``web`` service answers to, all
    where it is empty."""

    addresses: ServiceAddresses
    nodes: tuple[str, ...]
    names: tuple[str, ...] = ()
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Imports:
    """What a session may bring: ``take`` nothing, the default route or a full table, of at most
    ``limit`` prefixes; ``action`` is what happens to the next one."""

    take: Literal["none", "default", "full"]
    limit: int
    action: Literal["block", "restart"]


@dataclass(frozen=True, slots=True)
class Validator:
    """A relying party's cache that speaks RTR (RFC 8210); ``name`` is BIRD's for the session."""

    name: str
    address: Address
    port: int


Community = tuple[int, int] | tuple[int, int, int]
"""A standard community (RFC 1997), or a large one of three numbers (RFC 8092)."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A community on an announcement: its meaning, and the rule that adds it."""

    community: Community
    meaning: str
    rule: str


@dataclass(frozen=True, slots=True)
class Steering:
    """How an upstream is asked to bring more or less traffic (``mesh:traffic``).

    ``prepend`` is how many times our own ASN is prepended; ``med`` is what the upstream itself
    compares; ``local_preference`` is of what the session imports. ``rules`` are the names of the
    rules that apply.
    """

    rules: tuple[str, ...] = ()
    prepend: int = 0
    med: int | None = None
    tags: tuple[Tag, ...] = ()
    local_preference: int | None = None

    @property
    def asks(self) -> bool:
        """Whether it changes what is announced to the upstream."""
        return bool(self.prepend or self.tags) or self.med is not None

    def descriptions(self) -> tuple[str, ...]:
        """Each action in a few terms, for a table."""
        found = [f"our ASN prepended {self.prepend}x"] if self.prepend else []
        found += dict.fromkeys(tag.meaning for tag in self.tags)
        if self.med is not None:
            found.append(f"MED {self.med}")
        if self.local_preference is not None:
            found.append(f"local preference {self.local_preference} for what it imports")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class UpstreamSession:
    """One eBGP session with an upstream, of one family.

    ``password`` names the secret (``vultr`` for ``mesh:bgpPassword-vultr``), never its value.
    ``role`` is what the neighbor is to us (RFC 9234). ``local`` is the node's own address, with the
    length of its subnet; without one it is that of ``interface``, or the node's main address.
    """

    name: str
    family: Family
    peer_asn: int
    neighbor: Address
    multihop: int | None
    password: str | None
    role: NeighborRole
    imports: Imports
    steering: Steering = Steering()
    blackhole: Community | None = None
    """The upstream's blackhole community (RFC 7999); None where it has none."""
    label: str = ""
    """The session's name in ``upstreams``; empty for the one of the node's provider."""
    local: IPv4Interface | IPv6Interface | None = None
    interface: str | None = None
    """The interface on whose link the neighbor is."""
    hold_time: int = 9
    gtsm: bool = False
    bfd: bool = False

    @property
    def source(self) -> Address | None:
        """The node's own address, where the stack file gives it."""
        return None if self.local is None else self.local.ip


@dataclass(frozen=True, slots=True)
class VpcSession:
    """One eBGP session with a router of the node's own VPC, IPv4, on the node's own address there.

    The provider gives the routers' addresses (:class:`mesh.facts.Placement`, in this order).
    ``password`` names the secret, never its value; ``bfd`` is offered where multihop is None.
    """

    name: str
    peer_asn: int
    multihop: int | None
    password: str | None
    bfd: bool


@dataclass(frozen=True, slots=True)
class ReflectorSession:
    """One iBGP session between tunnel addresses, of one family; with ``client`` this node is the
    reflector and the neighbor its client (RFC 4456)."""

    name: str
    family: Family
    peer: str
    neighbor: Address
    client: bool


@dataclass(frozen=True, slots=True)
class DirectSession:
    """One iBGP session between tunnel addresses of two nodes that are no reflectors, of one family:
    each announces its own services, so that they are known without a reflector."""

    name: str
    family: Family
    peer: str
    neighbor: Address


@dataclass(frozen=True, slots=True)
class Bfd:
    """Timers of a link's BFD session: interval in milliseconds, missed packets until down."""

    interval: int
    multiplier: int


@dataclass(frozen=True, slots=True)
class Link:
    """This node's end of the tunnel to ``peer``.

    We listen on ``port`` and send to the peer's ``peer_port``; the link-local addresses are
    ``fe80::<tunnel number>``. ``cost`` grows with the distance between the two regions. What
    arrives for ``former_port`` is let in as well, while peers send there
    (:mod:`mesh.plan.transition`). ``local4`` is the interface's own IPv4 address on a system that
    finds the interface of a route by it; None where the interface has the node's tunnel address.
    """

    peer: str
    interface: str
    port: int
    peer_port: int
    local: IPv6Address
    remote: IPv6Address
    peer_asn: int
    cost: int
    mtu: int
    bfd: Bfd
    former_port: int | None = None
    local4: IPv4Address | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One server in one region; its numbers do not depend on other nodes.

    ``place`` and ``size`` are the provider's names of the region and of the server's size; both are
    empty for an existing host. ``translated`` is True where the node has a private address behind
    1:1 NAT.
    """

    id: str
    region: str
    provider: str
    place: str
    size: str
    bare_metal: bool
    existing: bool
    translated: bool
    slot: int
    number: int
    roles: tuple[Role, ...]
    ipv6: bool
    announced: AddressPair
    tunnel: TunnelAddresses
    router_id: IPv4Address
    underlay_asn: int
    links: tuple[Link, ...]
    reflectors: tuple[ReflectorSession, ...]
    upstreams: tuple[UpstreamSession, ...]
    vpc: tuple[VpcSession, ...]
    services: tuple[str, ...]
    direct: tuple[DirectSession, ...] = ()
    os: OperatingSystem = OperatingSystem.DEBIAN
    later_exits: tuple[Address, ...] = ()
    """Exits of aggregates that it has already, and replies do not take yet
    (:mod:`mesh.plan.transition`)."""

    @property
    def ibgp(self) -> tuple[ReflectorSession | DirectSession, ...]:
        """All sessions in the network's own ASN."""
        return (*self.reflectors, *self.direct)


@dataclass(frozen=True, slots=True)
class Region:
    """A city or data centre with its /29 of host addresses; ``block`` is None in a network with
    IPv6 only.

    ``index`` is the block's number in the aggregate, or follows from the region's lowest host
    number, so that other regions do not change it. ``location`` is latitude and longitude in
    degrees.
    """

    id: str
    name: str
    index: int
    block: IPv4Network | None
    location: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Access:
    """Who may reach a node's provider address: ``admin`` SSH, ``registry`` the registry."""

    admin: tuple[Network, ...]
    registry: tuple[Network, ...]
    registry_port: int
    ssh_keys: tuple[str, ...]

    @property
    def names_callers(self) -> bool:
        """Whether only some IPv4 addresses may reach the registry; each planned node's own is then
        added."""
        return not any(n.version == 4 and n.prefixlen == 0 for n in self.registry)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A prefix that is announced, and the ids of the nodes that announce it.

    ``covering`` is the aggregate of which it is a more-specific. ``exit`` is the anycast address of
    ``nodes`` in the underlay, where the other nodes' replies from the prefix leave: None for a
    more-specific, whose replies leave with its aggregate's, and where every edge announces it
    (:attr:`Plan.exits`).
    """

    prefix: Network
    nodes: tuple[str, ...]
    covering: Network | None = None
    exit: Address | None = None


@dataclass(frozen=True, slots=True)
class Glass:
    """The looking glass of every node: its TCP port, and whether everybody may read a reduced one
    at the announced addresses."""

    port: int
    public: bool


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody whom alerts of these ``severities`` reach. ``sender``, ``to``, ``server`` and
    ``user`` are for mail, ``channel`` for Slack. ``secret`` says whether there is one of that name
    (``mesh:alertReceiver-<name>``)."""

    name: str
    kind: ReceiverKind
    severities: tuple[Severity, ...]
    secret: bool
    to: str | None = None
    sender: str | None = None
    server: str | None = None
    user: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Prometheus and Alertmanager at the nodes of these ids; ``watchdog`` is the receiver of the
    alert that always fires, ``retention`` is days."""

    nodes: tuple[str, ...]
    receivers: tuple[Receiver, ...]
    watchdog: str | None
    retention: int


Zone = Literal["uplink", "tunnel", "announced"]
Source = Literal[
    "anyone", "limited", "admin", "registry", "nodes", "upstreams", "routers", "mesh", "monitors"
]


@dataclass(frozen=True, slots=True)
class FirewallRule:
    """Packets that the firewall accepts; all others are dropped.

    ``zone`` is the packet's destination: the provider's address (``uplink``), a tunnel
    (``tunnel``), or an address of the aggregates (``announced``). ``ports`` is an inclusive range.
    ``source`` names a group: ``limited`` is anyone, with a limit of new connections for each
    source, ``nodes`` are the provider addresses of the planned nodes,
    ``upstreams`` the providers' BGP speakers, ``routers`` those of the node's own VPC, ``mesh`` the
    tunnel addresses, ``monitors`` those of the nodes that monitor.
    """

    name: str
    zone: Zone
    protocol: Literal["tcp", "udp"]
    ports: tuple[int, int]
    source: Source
    roles: tuple[Role, ...] = ()
    """Only on nodes that have one of these roles; on all where empty."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole network. Nodes, regions and services are sorted by id."""

    stack: str
    twin: str | None
    """The stack of which this one is a copy in the lab."""
    asn: int
    prefixes: PrefixPair
    tunnels: TunnelRanges
    port: int
    path_limit: int
    ixp_lans: tuple[Network, ...]
    """Peering LANs that are refused from upstreams."""
    rpki: tuple[Validator, ...]
    """Validators from which edges get VRPs and ASPAs; no validation where empty."""
    validates: bool
    """Whether every reflector is a validator itself; these are among ``rpki``."""
    exits: TunnelAddresses
    """The anycast addresses of all edges in the underlay: replies of members leave at the nearest
    edge."""
    regions: tuple[Region, ...]
    nodes: tuple[Node, ...]
    services: tuple[PlannedService, ...]
    access: Access
    firewall: tuple[FirewallRule, ...]
    whoami: bool
    without: tuple[str, ...]
    """Nodes that a generation may be published without (``mesh:without``)."""
    aggregates: tuple[Aggregate, ...] = ()
    """Everything that is announced: IPv4 first, aggregates before their more-specifics."""
    glass: Glass | None = None
    """The looking glass; None where there is none."""
    monitoring: Monitoring | None = None
    """None where no node monitors, and in plans of earlier versions."""
    waves: bool = True
    """Whether a generation goes out in waves (``mesh:waves``)."""
    linger: int = 2
    """Seconds for which a node that has withdrawn still serves packets on their way
    (``mesh:drain.linger``)."""

    @property
    def receiver_secrets(self) -> tuple[str, ...]:
        """The names of the receivers of alerts that keep something to themselves."""
        receivers = () if self.monitoring is None else self.monitoring.receivers
        return tuple(each.name for each in receivers if each.secret)

    @property
    def owned(self) -> tuple[Network, ...]:
        """The aggregates without their more-specifics, IPv4 first."""
        return tuple(each.prefix for each in self.aggregates if each.covering is None)

    @property
    def announces_apart(self) -> bool:
        """Whether prefixes come and go each by itself: there are several of a family, or some edge
        does not announce one. Otherwise a node announces all or nothing."""
        owned = self.owned
        several = len(self.aggregates) > len({each.version for each in owned})
        return several or any(each.exit is not None for each in self.aggregates)

    def announced(self) -> Mapping[str, tuple[Network, ...]]:
        """The prefixes that each node announces, IPv4 first; nodes that announce none are left
        out."""
        found: dict[str, list[Network]] = {}
        for each in self.aggregates:
            for node_id in each.nodes:
                found.setdefault(node_id, []).append(each.prefix)
        return {node_id: tuple(prefixes) for node_id, prefixes in found.items()}

    def announced_by(self, node_id: str) -> tuple[Network, ...]:
        """The prefixes that a node announces, IPv4 first."""
        return tuple(each.prefix for each in self.aggregates if node_id in each.nodes)

    def announcers(self, prefix: Network) -> tuple[str, ...]:
        """The nodes that announce a prefix; none where it is not announced."""
        return next((each.nodes for each in self.aggregates if each.prefix == prefix), ())

    def node(self, node_id: str) -> Node:
        """The node of that id; KeyError where the plan has none."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)

    def with_glass(self) -> tuple[Node, ...]:
        """The nodes that run a looking glass."""
        able = (node for node in self.nodes if node.os.has_glass)
        return () if self.glass is None else tuple(able)

    def with_role(self, role: Role) -> tuple[Node, ...]:
        """The nodes that have this role."""
        return tuple(node for node in self.nodes if role in node.roles)
