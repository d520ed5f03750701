"""Every address of the world around the nodes, computed from the plan.

Documentation prefixes only (RFC 5737, RFC 3849), which are not routed on the Internet. Inside a
VPC, and nowhere else, private ones (RFC 1918), the same in each.

====================================  =====================================================
203.0.113.<slot>/32                   a node's main address; its gateway is 203.0.113.254
2001:db8:<region>:<provider>::/64     nodes of a provider in a region (SLAAC, EUI-64)
198.51.100.<4 x region>/30            the client of a region and its gateway
2001:db8:<region>:ffff::/64           the same in IPv6
198.51.100.128/25, 2001:db8:ffff::/64 the exchange where the transits meet
198.51.100.250, 2001:db8:ffff::250    the operator
172.31.0.<slot>                       a node's own address where its provider translates
172.31.1.1, .2 and .3, .10            a VPC's gateway, its BGP speakers, one of its instances
====================================  =====================================================

Everything derives from numbers that never change in the plan (slot, region index, tunnel number),
so that adding or removing a region or a node renumbers no other one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_interface,
    ip_network,
)
from itertools import groupby
from typing import TypeVar

from mesh.lab.errors import LabError
from mesh.lab.services import LabService, services_of
from mesh.plan.model import (
    Aggregate,
    Network,
    Node,
    Plan,
    PrefixPair,
    Region,
    TunnelRanges,
    UpstreamSession,
    VpcSession,
)
from mesh.spec.distance import kilometres
from mesh.spec.ids import short
from mesh.spec.providers import PROVIDERS, lab_number, public_asn

T = TypeVar("T")
Interface = IPv4Interface | IPv6Interface

NODES4 = IPv4Network("203.0.113.0/24")
GATEWAY4 = IPv4Address("203.0.113.254")
CLIENTS4 = IPv4Network("198.51.100.0/25")
EXCHANGE4 = IPv4Network("198.51.100.128/25")
WORLD6 = IPv6Network("2001:db8::/32")
EXCHANGE6 = IPv6Network("2001:db8:ffff::/64")
OPERATOR4 = IPv4Address("198.51.100.250")
OPERATOR6 = EXCHANGE6[0x250]
FREE = (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8:100::/40"))
"""Documentation prefixes of which the world has no address."""
METADATA4 = IPv4Address("169.254.169.254")
CLIENT_SUBNET = 0xFFFF
VPC4 = IPv4Network("172.31.0.0/23")
VPC_GATEWAY, VPC_ROUTERS, VPC_CLIENT = 257, 258, 266
"""Host numbers in the VPC's network, above those of all slots; ``VPC_ROUTERS`` is the first of its
BGP speakers."""

REGION_LIMIT = 31
"""Region indices 0-30: the documentation ASNs (RFC 5398) without the last one."""

UNKNOWN_PROVIDER_ASN = 65551
PRIVATE_ASNS = ((64512, 65534), (4200000000, 4294967294))


@dataclass(frozen=True, slots=True)
class Lan:
    """A further interface of a node: its own addresses there, and the box that has the bridge to
    which it and the neighbors there are connected."""

    name: str
    mac: str
    addresses: tuple[Interface, ...]
    bridge: str


@dataclass(frozen=True, slots=True)
class Uplink:
    """A node's place in the world: its port at the upstream and its main addresses.

    ``sessions`` are with routers behind the uplink; ``lans`` are the node's further interfaces.

    ``inside`` is the address that the node itself holds where its provider translates (1:1 NAT),
    with ``length`` as its prefix length; ``routers`` are the BGP speakers of its VPC, in the order
    of ``vpc``, its sessions with them.
    """

    node: str
    upstream: str
    port: str
    mac: str
    mtu: int
    ipv4: IPv4Address
    gateway4: IPv4Address
    ipv6: IPv6Address | None
    announces: bool
    sessions: tuple[UpstreamSession, ...]
    inside: IPv4Address | None = None
    length: int = 32
    routers: tuple[IPv4Address, ...] = ()
    vpc: tuple[VpcSession, ...] = ()
    lans: tuple[Lan, ...] = ()

    @property
    def sources(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """Further addresses on the uplink, from which sessions start."""
        return tuple({each.source: None for each in self.sessions if each.source is not None})

    @property
    def main(self) -> IPv4Address:
        """The IPv4 address that the node itself holds."""
        return self.inside or self.ipv4


@dataclass(frozen=True, slots=True)
class Router:
    """A BGP speaker of a VPC: an endpoint of AWS's route server, an interface of GCP's Cloud
    Router. ``number`` is its place among the sessions of the VPC's nodes."""

    box: str
    number: int
    ipv4: IPv4Address
    length: int
    asn: int


@dataclass(frozen=True, slots=True)
class Vpc:
    """A VPC at a provider that translates: its network, its BGP speakers, and a client without a
    public address."""

    network4: IPv4Network
    mtu: int
    routers: tuple[Router, ...]
    client: str
    client4: IPv4Address


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider's router in one region; with a VPC behind it where it translates."""

    box: str
    provider: str
    region: str
    asn: int
    gateway4: IPv4Address
    gateway6: IPv6Address
    network6: IPv6Network
    transit: str
    port: str
    nodes: tuple[str, ...]
    vpc: Vpc | None = None


@dataclass(frozen=True, slots=True)
class Neighbor:
    """The router at the other end of the sessions of one entry of ``upstreams``, on an interface of
    the node's own; ``bridge`` is the box that has the bridge of that interface, and ``port`` its
    port at its transit."""

    box: str
    node: str
    asn: int
    addresses: tuple[Interface, ...]
    bridge: str
    node_mac: str
    transit: str
    port: str
    sessions: tuple[UpstreamSession, ...]


@dataclass(frozen=True, slots=True)
class Transit:
    """The transit AS of a region; ``distances`` is kilometres to every other one, by box."""

    box: str
    region: str
    asn: int
    exchange4: IPv4Address
    exchange6: IPv6Address
    port: str
    distances: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Client:
    """A user of the anycast service in a region."""

    box: str
    region: str
    transit: str
    ipv4: IPv4Address
    network4: IPv4Network
    gateway4: IPv4Address
    ipv6: IPv6Address
    network6: IPv6Network
    gateway6: IPv6Address


@dataclass(frozen=True, slots=True)
class Operator:
    """The operator's machine; ``transit`` is the box of its default route."""

    box: str
    ipv4: IPv4Address
    ipv6: IPv6Address
    transit: str


@dataclass(frozen=True, slots=True)
class World:
    """The world around the nodes; every tuple is sorted by box or node id."""

    asn: int
    prefixes: PrefixPair
    tunnels: TunnelRanges
    nodes: tuple[Uplink, ...]
    upstreams: tuple[Upstream, ...]
    transits: tuple[Transit, ...]
    clients: tuple[Client, ...]
    operator: Operator
    neighbors: tuple[Neighbor, ...] = ()
    aggregates: tuple[Aggregate, ...] = ()
    """Empty in the world of an earlier version, which announces ``prefixes``."""
    services: tuple[LabService, ...] = ()
    """What is asked, or played, in another way than whoami."""
    receives: bool = False
    """Whether the operator's machine takes the alerts of this network."""

    @property
    def owned(self) -> tuple[Network, ...]:
        """The network's own prefixes."""
        found = tuple(each.prefix for each in self.aggregates if each.covering is None)
        return found or self.prefixes.both()

    def taken(self, uplink: Uplink) -> tuple[Network, ...]:
        """The prefixes that a node's provider takes from it, as routes and as sources."""
        if self.aggregates:
            return tuple(each.prefix for each in self.aggregates if uplink.node in each.nodes)
        return self.prefixes.both() if uplink.announces else ()

    def node(self, node_id: str) -> Uplink:
        """The uplink of a node; LabError where the plan has no such node."""
        return _named({uplink.node: uplink for uplink in self.nodes}, node_id, "node")

    def upstream(self, box: str) -> Upstream:
        """The upstream router of that box name."""
        return _named({upstream.box: upstream for upstream in self.upstreams}, box, "upstream")

    def transit(self, box: str) -> Transit:
        """The transit router of that box name."""
        return _named({transit.box: transit for transit in self.transits}, box, "transit")

    def client(self, box: str) -> Client:
        """The client of that box name."""
        return _named({client.box: client for client in self.clients}, box, "client")


def underlay(plan: Plan) -> World:
    """The world of a plan: pure, and stable under adding and removing nodes and regions.

    Regions without a node have no box. LabError where a number does not fit the prefixes, or a
    session's address is one of the world's own.
    """
    used = {node.region for node in plan.nodes}
    regions = {region.id: region for region in plan.regions if region.id in used}
    if not regions:
        raise LabError("the plan has no node: there is no world to build; add a node to the stack")
    nodes = tuple(_uplink(plan, node, regions[node.region]) for node in plan.nodes)
    transits = tuple(_transit(region, regions) for _, region in sorted(regions.items()))
    first = min(regions.values(), key=lambda region: region.index)
    world = World(
        asn=plan.asn,
        prefixes=plan.prefixes,
        tunnels=plan.tunnels,
        nodes=nodes,
        upstreams=_upstreams(plan, regions),
        transits=transits,
        clients=tuple(_client(region) for _, region in sorted(regions.items())),
        operator=Operator("operator", OPERATOR4, OPERATOR6, transit_box(first.id)),
        neighbors=tuple(each for node in plan.nodes for each in _neighbors(node)),
        aggregates=plan.aggregates,
        services=services_of(plan),
        receives=plan.monitoring is not None,
    )
    for node in plan.nodes:
        for session in node.upstreams:
            _refuse_collision(world, node, session)
            _refuse_off_link(world, node, session)
    return world


def _refuse_off_link(world: World, node: Node, session: UpstreamSession) -> None:
    """LabError for a session without ``multihop`` that would wait for ever: a node's main IPv4
    address has no subnet, and its IPv6 one that of its provider."""
    if session.interface is not None or session.multihop is not None:
        return
    if session.neighbor not in world.upstream(world.node(node.id).upstream).network6:
        raise LabError(
            f"{_key(node, session)}, neighbor {session.neighbor}: in the lab it is not on the link "
            "of the node's main address, and without `multihop` the session would stay down; give "
            "the twin's session `multihop: 2`, or an `interface`"
        )


def _refuse_collision(world: World, node: Node, session: UpstreamSession) -> None:
    """LabError where packets to a part of the world would end at a session's neighbor instead: its
    address, or the subnet of its interface, holds an address of that part."""
    place: Network = ip_network(session.neighbor)
    if session.interface is not None:
        place = ends(session)[1].network
    for address, part in _own_addresses(world):
        if address in place:
            raise LabError(
                f"{_key(node, session)}, neighbor {session.neighbor}: in the lab, {address} is "
                f"{part}, and packets to it would end at this neighbor; give the twin's neighbor "
                f"an address of {' or '.join(map(str, FREE))}"
            )


def _key(node: Node, session: UpstreamSession) -> str:
    """Where the stack file has a session."""
    entry = f"upstreams: {session.label}" if session.label else "host.upstream"
    return f"mesh:nodes.{node.id}.{entry}"


def _own_addresses(world: World) -> Iterator[tuple[IPv4Address | IPv6Address, str]]:
    """The addresses of nodes, clients, transits and the operator, and whose they are."""
    for uplink in world.nodes:
        yield uplink.ipv4, f"the main address of {uplink.node}"
        if uplink.ipv6 is not None:
            yield uplink.ipv6, f"the main address of {uplink.node}"
    for client in world.clients:
        for address in (client.ipv4, client.ipv6, client.gateway4, client.gateway6):
            yield address, f"an address of {client.box} or its gateway"
    for transit in world.transits:
        yield transit.exchange4, f"an address of {transit.box}"
        yield transit.exchange6, f"an address of {transit.box}"
    yield world.operator.ipv4, "the operator's address"
    yield world.operator.ipv6, "the operator's address"


def keeping(world: World, before: World, nodes: Collection[str]) -> World:
    """The world with the ports, upstreams, transits and clients of these nodes of an earlier world.
    A node that leaves the plan keeps its uplink until it is removed."""
    staying = [uplink for uplink in before.nodes if uplink.node in nodes]
    boxes = {uplink.upstream for uplink in staying}
    regions = {upstream.region for upstream in before.upstreams if upstream.box in boxes}
    kept = {upstream.box: upstream for upstream in before.upstreams if upstream.box in boxes}
    for upstream in world.upstreams:
        older = kept[upstream.box].nodes if upstream.box in kept else ()
        served = sorted({*upstream.nodes, *(node for node in older if node in nodes)})
        kept[upstream.box] = replace(upstream, nodes=tuple(served))
    far = {transit.box: dict(transit.distances) for transit in before.transits}
    transits = {t.box: t for t in before.transits if t.region in regions}
    for transit in world.transits:
        distances = far.get(transit.box, {}) | dict(transit.distances)
        transits[transit.box] = replace(transit, distances=tuple(sorted(distances.items())))
    clients = {c.box: c for c in before.clients if c.region in regions}
    clients |= {client.box: client for client in world.clients}
    return replace(
        world,
        nodes=_sorted({u.node: u for u in (*staying, *world.nodes)}),
        upstreams=_sorted(kept),
        transits=tuple(_among(transit, transits) for transit in _sorted(transits)),
        clients=_sorted(clients),
        neighbors=(
            *(each for each in before.neighbors if each.node in nodes),
            *world.neighbors,
        ),
    )


def _among(transit: Transit, boxes: Collection[str]) -> Transit:
    """A transit with distances to these others only."""
    return replace(transit, distances=tuple(pair for pair in transit.distances if pair[0] in boxes))


def _sorted(named: Mapping[str, T]) -> tuple[T, ...]:
    return tuple(value for _, value in sorted(named.items()))


def transit_box(region: str) -> str:
    """Name of a region's transit box."""
    return f"transit-{region}"


def upstream_box(provider: str, region: str) -> str:
    """Name of a provider's router in a region."""
    return f"upstream-{provider}-{region}"


def transit_asn(index: int) -> int:
    """The documentation ASN of a region (RFC 5398): 64496-64511, then 65536-65550."""
    return 64496 + index if index < 16 else 65536 + index - 16


def provider_number(provider: str) -> int:
    """A provider's number in IPv6 networks; derived from its name where its facts have none."""
    known = lab_number(provider)
    if known is not None:
        return known
    span = CLIENT_SUBNET - 0x100
    return 0x100 + int.from_bytes(sha256(provider.encode()).digest()[:4], "big") % span


def mac(number: int) -> str:
    """A node's locally administered MAC, from its tunnel number."""
    return f"02:6d:65:73:{number >> 8:02x}:{number & 0xFF:02x}"


def eui64(network: IPv6Network, mac_address: str) -> IPv6Address:
    """The SLAAC address of a MAC in a /64 (RFC 4291, appendix A)."""
    octets = bytearray.fromhex(mac_address.replace(":", ""))
    octets[0] ^= 0x02
    identifier = bytes(octets[:3]) + b"\xff\xfe" + bytes(octets[3:])
    return network[int.from_bytes(identifier, "big")]


def network6(region: Region, subnet: int) -> IPv6Network:
    """The /64 of a region and a provider number (or of its client)."""
    base = int(WORLD6.network_address) | region.index << 80 | subnet << 64
    return IPv6Network((base, 64))


def _uplink(plan: Plan, node: Node, region: Region) -> Uplink:
    if not 1 <= node.slot <= 253:
        raise LabError(
            f"node {node.id}: its slot {node.announced.both()[0]} is number {node.slot} of "
            f"{plan.prefixes.both()[0]}, and the lab has main addresses for 1 to 253 ({NODES4}); "
            "give the node a slot with a lower number"
        )
    address = mac(node.number)
    network = network6(region, provider_number(node.provider))
    single_hop = any(session.multihop is None for session in node.vpc)
    return Uplink(
        node=node.id,
        upstream=upstream_box(node.provider, node.region),
        port=f"n-{short(node.id)}",
        mac=address,
        mtu=_mtu(node.provider),
        ipv4=NODES4[node.slot],
        gateway4=VPC4[VPC_GATEWAY] if node.translated else GATEWAY4,
        ipv6=eui64(network, address) if node.ipv6 else None,
        announces=bool(node.upstreams),
        sessions=tuple(each for each in node.upstreams if each.interface is None),
        inside=VPC4[node.slot] if node.translated else None,
        length=VPC4.prefixlen if single_hop else 32,
        routers=tuple(VPC4[VPC_ROUTERS + n] for n in range(len(node.vpc))),
        vpc=node.vpc,
        lans=_lans(node),
    )


def neighbor_box(node_id: str, label: str) -> str:
    """Name of the router of a session of ``upstreams``."""
    return f"upstream-{node_id}-{label}"


def _lans(node: Node) -> tuple[Lan, ...]:
    """The interfaces of a node's sessions, each with its own addresses there, without
    repetition."""
    found: dict[str, list[UpstreamSession]] = {}
    for session in node.upstreams:
        if session.interface is not None:
            found.setdefault(session.interface, []).append(session)
    return tuple(
        Lan(
            name=name,
            mac=f"02:6d:65:{0x80 + number:02x}:{node.number >> 8:02x}:{node.number & 0xFF:02x}",
            addresses=tuple({own: None for own, _ in map(ends, sessions) if own is not None}),
            bridge=neighbor_box(node.id, sessions[0].label),
        )
        for number, (name, sessions) in enumerate(found.items())
    )


def ends(session: UpstreamSession) -> tuple[Interface | None, Interface]:
    """The addresses of a session on its link, the node's first: None where it has a link-local one
    by itself. Where the stack file gives no address, one in the neighbor's /25 (or /121); where it
    gives no length, the smallest subnet with both."""
    neighbor, local = session.neighbor, session.local
    if neighbor.version == 6 and neighbor.is_link_local:
        own = None if local is None else ip_interface(f"{local.ip}/64")
        return own, ip_interface(f"{neighbor}/64")
    if local is not None and local.network.prefixlen < local.max_prefixlen:
        return local, ip_interface(f"{neighbor}/{local.network.prefixlen}")
    address = type(neighbor)(int(neighbor) ^ 0x40) if local is None else local.ip
    length = neighbor.max_prefixlen - (int(neighbor) ^ int(address)).bit_length()
    return ip_interface(f"{address}/{length}"), ip_interface(f"{neighbor}/{length}")


def _neighbors(node: Node) -> Iterator[Neighbor]:
    """The routers of a node's sessions on interfaces of its own, one for each entry."""
    for lan in _lans(node):
        there = [each for each in node.upstreams if each.interface == lan.name]
        for label, sessions in groupby(there, lambda each: each.label):
            yield _neighbor(node, lan, neighbor_box(node.id, label), tuple(sessions))


def _neighbor(node: Node, lan: Lan, box: str, sessions: tuple[UpstreamSession, ...]) -> Neighbor:
    return Neighbor(
        box=box,
        node=node.id,
        asn=sessions[0].peer_asn,
        addresses=tuple(far for _, far in map(ends, sessions)),
        bridge=lan.bridge,
        node_mac=lan.mac,
        transit=transit_box(node.region),
        port=f"x-{sha256(box.encode()).hexdigest()[:8]}",
        sessions=sessions,
    )


def _mtu(provider: str) -> int:
    known = PROVIDERS.get(provider)
    return known.mtu if known else 1500


def _vpc(provider: str, region: str, nodes: tuple[Node, ...]) -> Vpc | None:
    if not any(node.translated for node in nodes):
        return None
    box = upstream_box(provider, region)
    sessions = max((node.vpc for node in nodes), key=len)
    return Vpc(
        network4=VPC4,
        mtu=_mtu(provider),
        routers=tuple(
            Router(
                box=f"{box}-{number}",
                number=number,
                ipv4=VPC4[VPC_ROUTERS + number - 1],
                length=VPC4.prefixlen if session.multihop is None else 32,
                asn=session.peer_asn,
            )
            for number, session in enumerate(sessions, 1)
        ),
        client=f"client-{provider}-{region}",
        client4=VPC4[VPC_CLIENT],
    )


def _upstreams(plan: Plan, regions: dict[str, Region]) -> tuple[Upstream, ...]:
    there: dict[tuple[str, str], tuple[Node, ...]] = {}
    for node in plan.nodes:
        place = (node.provider, node.region)
        there[place] = (*there.get(place, ()), node)
    places = sorted(there)
    networks = {
        (provider, region): network6(regions[region], provider_number(provider))
        for provider, region in places
    }
    if len(set(networks.values())) != len(networks):
        raise LabError(
            "two providers of one region get the same IPv6 network from their names; "
            "give one of them a lab_number in its facts (mesh/spec/providers)"
        )
    return tuple(
        Upstream(
            box=upstream_box(provider, region),
            provider=provider,
            region=region,
            asn=_public_asn(plan, provider),
            gateway4=vpc.network4[VPC_GATEWAY] if vpc else GATEWAY4,
            gateway6=networks[provider, region][1],
            network6=networks[provider, region],
            transit=transit_box(region),
            port=f"u-{short(provider)}",
            nodes=tuple(node.id for node in there[provider, region]),
            vpc=vpc,
        )
        for provider, region in places
        for vpc in [_vpc(provider, region, there[provider, region])]
    )


def _public_asn(plan: Plan, provider: str) -> int:
    known = public_asn(provider)
    if known is not None:
        return known
    asns = {
        session.peer_asn
        for node in plan.nodes
        if node.provider == provider
        for session in node.upstreams
    }
    public = sorted(
        asn for asn in asns if not any(low <= asn <= high for low, high in PRIVATE_ASNS)
    )
    return public[0] if public else UNKNOWN_PROVIDER_ASN


def _transit(region: Region, regions: dict[str, Region]) -> Transit:
    if region.index >= REGION_LIMIT:
        own, cure = f"block {region.block}", "an earlier block"
        if region.block is None:
            own, cure = "lowest slot", f"a slot from 1 to {REGION_LIMIT}"
        raise LabError(
            f"region {region.id}: its {own} makes it number {region.index}, and the lab has "
            f"transits for 0 to {REGION_LIMIT - 1}; give the region {cure}"
        )
    return Transit(
        box=transit_box(region.id),
        region=region.id,
        asn=transit_asn(region.index),
        exchange4=EXCHANGE4[region.index + 1],
        exchange6=EXCHANGE6[region.index + 1],
        port=f"t-{region.id}",
        distances=tuple(
            (transit_box(other.id), round(kilometres(region.location, other.location)))
            for _, other in sorted(regions.items())
            if other.id != region.id
        ),
    )


def _client(region: Region) -> Client:
    first = 4 * region.index
    network = network6(region, CLIENT_SUBNET)
    return Client(
        box=f"client-{region.id}",
        region=region.id,
        transit=transit_box(region.id),
        ipv4=CLIENTS4[first + 2],
        network4=IPv4Network((CLIENTS4[first], 30)),
        gateway4=CLIENTS4[first + 1],
        ipv6=network[2],
        network6=network,
        gateway6=network[1],
    )


def _named(known: dict[str, T], name: str, kind: str) -> T:
    try:
        return known[name]
    except KeyError:
        raise LabError(f"the plan has no {kind} {name!r}; it has {', '.join(known)}") from None
