"""The boxes of the world and the wires between them, as tables, and how they are made.

Both ends of every wire are made inside namespaces, never in the host's own. Creation is repeatable:
existing ones stay, missing ones are made.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from mesh import netns
from mesh.lab import namespaces
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import (
    EXCHANGE4,
    EXCHANGE6,
    METADATA4,
    Client,
    Neighbor,
    Transit,
    Uplink,
    Upstream,
    Vpc,
    World,
)

NODES = "nodes"
"""The bridge of an upstream towards its nodes."""
EXCHANGE = "exchange"
"""The LAN where transits meet: a bridge in ``internet``, an interface elsewhere."""
UPLINK = "uplink"
CLIENT = "client"
TRANSIT = "transit"
LAN = "lan"
"""A neighbor's interface towards a node: the bridge in one box, an interface in the others."""
FOREIGN = "foreign"
"""The counter of packets from the aggregates that a node's provider drops."""
NODE = "node"
"""The port of a node in the bridge of a further interface."""
NODE_INTERFACE = "enp1s0"
"""Debian's name of a virtual server's first network card."""

TRANSIT_LINK_LOCAL = "fe80::1"
UPSTREAM_LINK_LOCAL = "fe80::2"

ROUTER = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    # The same for IPv4 as NO_REDIRECTS below.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    # Without the limit, path MTU discovery does not fail by chance under load.
    "ipv4/icmp_ratelimit": "0",
    "ipv6/icmp/ratelimit": "0",
}
NO_REDIRECTS = """
add table inet router
delete table inet router
table inet router {
  chain output {
    type filter hook output priority 0; policy accept;
    icmpv6 type nd-redirect drop
  }
}
"""
"""Routers send no redirects (IPv6 has no sysctl for it). Nodes of one upstream are isolated, as
virtual servers are, and reach each other through the router. And while a withdrawal spreads, a
packet may loop between a transit and an upstream: the transit would redirect its client to the
upstream, on a link that the client is not on, after which the client of Linux 6.18 gets no answer
for eleven seconds."""
QUIET = {
    # Addresses of the world are unique: no wait for duplicate address detection.
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/all/accept_ra": "0",
    "ipv6/conf/default/accept_ra": "0",
    # Boxes at the edge have one gateway, and accept no redirects.
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv6/conf/all/accept_redirects": "0",
    "ipv6/conf/default/accept_redirects": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
}


@dataclass(frozen=True, slots=True)
class Wire:
    """A veth pair: interface ``name`` of ``box`` to interface ``peer_name`` of ``peer``."""

    box: str
    name: str
    peer: str
    peer_name: str


@dataclass(frozen=True, slots=True)
class Box:
    """A namespace of the world: its bridges with the ports in them, and its configuration.

    ``lines`` is iproute2, repeatable (``replace``, ``set``), run when all wires are there.
    """

    name: str
    sysctl: dict[str, str]
    bridges: tuple[str, ...]
    lines: tuple[str, ...]


def wires(world: World) -> tuple[Wire, ...]:
    """Every wire of the world but those of the nodes, which are made with their instances."""
    found = [Wire("internet", "operator", "operator", EXCHANGE)]
    for transit in world.transits:
        found.append(Wire("internet", transit.port, transit.box, EXCHANGE))
    for upstream in world.upstreams:
        found.append(Wire(upstream.transit, upstream.port, upstream.box, TRANSIT))
        if upstream.vpc is not None:
            for box, port in _vpc_ports(upstream.vpc):
                found.append(Wire(upstream.box, port, box, UPLINK))
    for client in world.clients:
        found.append(Wire(client.transit, CLIENT, client.box, UPLINK))
    for neighbor in world.neighbors:
        found.append(Wire(neighbor.transit, neighbor.port, neighbor.box, TRANSIT))
        if neighbor.box != neighbor.bridge:
            found.append(Wire(neighbor.bridge, neighbor.port, neighbor.box, LAN))
    return tuple(found)


def boxes(world: World) -> tuple[Box, ...]:
    """Every box of the world but the nodes."""
    return (
        _internet(world),
        _operator(world),
        *(_transit(world, transit) for transit in world.transits),
        *(_upstream(world, upstream) for upstream in world.upstreams),
        *(_client(client) for client in world.clients),
        *(_neighbor(world, neighbor) for neighbor in world.neighbors),
        *(box for upstream in world.upstreams for box in _vpc_boxes(upstream)),
    )


def create(files: LabFiles, world: World) -> None:
    """Make all namespaces, wires, addresses and static routes of the world that are missing."""
    tables = boxes(world)
    for box in tables:
        files.box(box.name).mkdir(parents=True, exist_ok=True)
    namespaces.create(files.namespace(box.name) for box in tables)
    present = {box.name: interfaces(files, box.name) for box in tables}
    for box in tables:
        namespaces.sysctl(files.namespace(box.name), QUIET | box.sysctl)
        # A wire is made at its first box; the lines of its second box come later.
        namespaces.ip(_links(files, world, box, present), files.namespace(box.name))
    for box in tables:
        namespaces.ip(box.lines, files.namespace(box.name))
    for box in tables:
        if box.sysctl == ROUTER:
            namespaces.nft(NO_REDIRECTS, files.namespace(box.name))
    for upstream in world.upstreams:
        if upstream.vpc is not None:
            namespaces.nft(translation(world, upstream), files.namespace(upstream.box))


def _links(files: LabFiles, world: World, box: Box, present: dict[str, set[str]]) -> Iterable[str]:
    """iproute2 lines for the bridges and wires of a box that do not exist yet."""
    for bridge in box.bridges:
        if bridge not in present[box.name]:
            # Snooping would delay neighbor discovery until the first report.
            yield f"link add name {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    for wire in wires(world):
        if wire.box == box.name and wire.name not in present[box.name]:
            far = files.namespace(wire.peer)
            yield f"link add name {wire.name} type veth peer name {wire.peer_name} netns {far}"


def interfaces(files: LabFiles, box: str) -> set[str]:
    """Names of a box's interfaces."""
    return netns.inside(files.namespace(box), lambda: {name for _, name in socket.if_nameindex()})


def attach(files: LabFiles, world: World, uplink: Uplink) -> None:
    """Make a node's namespace with its network card, connected to a port of its upstream.

    The port's filter is loaded before the port is up.
    """
    namespace = files.namespace(uplink.node)
    upstream = files.namespace(uplink.upstream)
    if uplink.port in interfaces(files, uplink.upstream):
        namespaces.ip([f"link delete {uplink.port}"], upstream)
    namespaces.create([namespace])
    namespaces.ip(
        [
            "link set lo up",
            f"link add name {NODE_INTERFACE} address {uplink.mac} mtu {uplink.mtu} "
            f"type veth peer name {uplink.port} mtu {uplink.mtu} netns {upstream}",
        ],
        namespace,
    )
    namespaces.nft(source_filter(world, uplink), upstream)
    namespaces.ip(
        [
            f"link set {uplink.port} master {NODES} up",
            f"link set {uplink.port} type bridge_slave isolated on",
        ],
        upstream,
    )
    for lan in uplink.lans:
        bridge = files.namespace(lan.bridge)
        if NODE in interfaces(files, lan.bridge):
            namespaces.ip([f"link delete {NODE}"], bridge)
        wire = f"link add name {lan.name} address {lan.mac} type veth peer name {NODE}"
        namespaces.ip([f"{wire} netns {bridge}"], namespace)
        namespaces.ip([f"link set {NODE} master {LAN} up"], bridge)


def detach(files: LabFiles, node: str) -> None:
    """Remove a node's namespace with its network card and the port at the upstream."""
    if netns.exists(files.namespace(node)):
        # The kernel removes them with the namespace, but later: the ports' names could still be
        # taken when the node is attached again.
        listed = ["ip", "-n", files.namespace(node), "-j", "link", "show", "type", "veth"]
        cards = [each["ifname"] for each in json.loads(namespaces.run(listed) or "[]") if each]
        namespaces.ip([f"link delete {card}" for card in cards], files.namespace(node))
    namespaces.delete([files.namespace(node)])


def silence(files: LabFiles, uplink: Uplink) -> None:
    """Drop all packets at a node's port, in both directions, while the link stays up."""
    hooks = "".join(
        f'  chain {hook} {{ type filter hook {hook} device "{uplink.port}" priority -10; '
        "policy drop; }\n"
        for hook in ("ingress", "egress")
    )
    table = _silence_table(uplink)
    rules = f"add table {table}\ndelete table {table}\ntable {table} {{\n{hooks}}}\n"
    namespaces.nft(rules, files.namespace(uplink.upstream))


def end_silence(files: LabFiles, uplink: Uplink) -> None:
    """Let a node's port carry packets again; also needed for a new instance, since kernels from
    6.16 on hook a chain to every new interface of its name."""
    table = _silence_table(uplink)
    rules = f"add table {table}\ndelete table {table}\n"
    namespaces.nft(rules, files.namespace(uplink.upstream))


def _silence_table(uplink: Uplink) -> str:
    return f"netdev silence-{uplink.node}"


def source_filter(world: World, uplink: Uplink) -> str:
    """nftables rules at a node's port: a provider's source address filter (BCP 38).

    A node may send from its own addresses and from the prefixes that its provider takes from it;
    packets from the network's other prefixes are dropped and counted by ``FOREIGN``. Within a VPC
    any source may send (its driver turns the source/destination check off). A node without IPv6 may
    only send what neighbor discovery needs.
    """
    own4: list[object] = [uplink.main]
    own6: list[object] = ["::", "fe80::/10", *([uplink.ipv6] if uplink.ipv6 else [])]
    own4 += [address for address in uplink.sources if address.version == 4]
    own6 += [address for address in uplink.sources if address.version == 6]
    foreign = ""
    taken = world.taken(uplink)
    own4.extend(prefix for prefix in taken if prefix.version == 4)
    own6.extend(prefix for prefix in taken if prefix.version == 6)
    vpc = world.upstream(uplink.upstream).vpc
    for prefix in world.owned:
        if prefix in taken:
            continue
        family = "ip" if prefix.version == 4 else "ip6"
        if vpc is not None and prefix.version == 4 and not uplink.announces:
            foreign += f"    ip saddr {prefix} ip daddr {vpc.network4} accept\n"
        parts = ", ".join(
            str(each.prefix)
            for each in world.aggregates
            if each.covering == prefix and each.prefix in taken
        )
        but = f" {family} saddr != {{ {parts} }}" if parts else ""
        foreign += f"    {family} saddr {prefix}{but} counter name {FOREIGN} drop\n"
    table = f"netdev source-{uplink.node}"
    return f"""
add table {table}
delete table {table}
table {table} {{
  counter {FOREIGN} {{ }}
  chain ingress {{
    type filter hook ingress device "{uplink.port}" priority 0; policy accept;
{foreign}    ip saddr != {{ {", ".join(map(str, own4))} }} counter drop
    ip6 saddr != {{ {", ".join(map(str, own6))} }} counter drop
  }}
}}
"""


def translation(world: World, upstream: Upstream) -> str:
    """nftables rules of a provider that translates: 1:1 NAT between each node's private and public
    address, in both directions; no packet from a private address leaves to the Internet."""
    assert upstream.vpc is not None, "only where there is a VPC"
    pairs = [(node.ipv4, node.inside) for node in map(world.node, upstream.nodes) if node.inside]
    inwards = ", ".join(f"{public} : {inside}" for public, inside in pairs)
    outwards = ", ".join(f"{inside} : {public}" for public, inside in pairs)
    return f"""
add table ip translation
delete table ip translation
table ip translation {{
  map inwards {{ type ipv4_addr : ipv4_addr; elements = {{ {inwards} }}; }}
  map outwards {{ type ipv4_addr : ipv4_addr; elements = {{ {outwards} }}; }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    dnat to ip daddr map @inwards
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{TRANSIT}" snat to ip saddr map @outwards
    ct status dnat snat to ip saddr map @outwards
  }}
  chain last {{
    type filter hook postrouting priority srcnat + 100; policy accept;
    oifname "{TRANSIT}" ip saddr {upstream.vpc.network4} counter drop
  }}
}}
"""


def _internet(world: World) -> Box:
    ports = ["operator", *(transit.port for transit in world.transits)]
    return Box(
        name="internet",
        sysctl={"ipv6/conf/all/disable_ipv6": "1", "ipv6/conf/default/disable_ipv6": "1"},
        bridges=(EXCHANGE,),
        lines=(
            "link set lo up",
            f"link set {EXCHANGE} up",
            *(f"link set {port} master {EXCHANGE} up" for port in ports),
        ),
    )


def _operator(world: World) -> Box:
    gateway = world.transit(world.operator.transit)
    return Box(
        name=world.operator.box,
        sysctl={},
        bridges=(),
        lines=(
            "link set lo up",
            f"link set {EXCHANGE} address {_exchange_mac(world.operator.ipv4)} up",
            f"address replace {world.operator.ipv4}/{EXCHANGE4.prefixlen} dev {EXCHANGE}",
            f"address replace {world.operator.ipv6}/{EXCHANGE6.prefixlen} dev {EXCHANGE} nodad",
            f"route replace default via {gateway.exchange4}",
            f"route replace default via {gateway.exchange6}",
        ),
    )


def _transit(world: World, transit: Transit) -> Box:
    lines = [
        "link set lo up",
        f"link set {EXCHANGE} address {_exchange_mac(transit.exchange4)} up",
        f"address replace {transit.exchange4}/{EXCHANGE4.prefixlen} dev {EXCHANGE}",
        f"address replace {transit.exchange6}/{EXCHANGE6.prefixlen} dev {EXCHANGE} nodad",
    ]
    for client in world.clients:
        if client.transit == transit.box:
            lines += [
                f"link set {CLIENT} up",
                f"address replace {client.gateway4}/{client.network4.prefixlen} dev {CLIENT}",
                f"address replace {client.gateway6}/{client.network6.prefixlen} dev {CLIENT} nodad",
            ]
    customers: list[Upstream | Neighbor] = [*world.upstreams, *world.neighbors]
    for customer in customers:
        if customer.transit == transit.box:
            lines += [
                f"link set {customer.port} up",
                f"address replace {TRANSIT_LINK_LOCAL}/64 dev {customer.port} nodad",
            ]
    return Box(transit.box, ROUTER, (), tuple(lines))


def _upstream(world: World, upstream: Upstream) -> Box:
    vpc = upstream.vpc
    length = 32 if vpc is None else vpc.network4.prefixlen
    ports = [] if vpc is None else [port for _, port in _vpc_ports(vpc)]
    lines = [
        "link set lo up",
        f"link set {TRANSIT} up",
        f"address replace {UPSTREAM_LINK_LOCAL}/64 dev {TRANSIT} nodad",
        # By default a bridge has the lowest MAC of its ports, which would change with the nodes.
        f"link set {NODES} address {_bridge_mac(upstream)} up",
        f"address replace {upstream.gateway4}/{length} dev {NODES}",
        f"address replace {upstream.gateway6}/{upstream.network6.prefixlen} dev {NODES} nodad",
        *(f"link set {port} master {NODES} up" for port in ports),
    ]
    for address in own_addresses(world, upstream):
        length = 32 if isinstance(address, IPv4Address) else 128
        lines.append(f"address replace {address}/{length} dev lo")
    return Box(upstream.box, ROUTER, (NODES,), tuple(lines))


def _neighbor(world: World, neighbor: Neighbor) -> Box:
    """A neighbor's router; the first one on an interface of a node has the bridge there."""
    has_bridge = neighbor.box == neighbor.bridge
    beside = [
        each.port
        for each in world.neighbors
        if has_bridge and each.bridge == neighbor.box and each.box != neighbor.box
    ]
    lines = [
        "link set lo up",
        f"link set {TRANSIT} up",
        f"address replace {UPSTREAM_LINK_LOCAL}/64 dev {TRANSIT} nodad",
        f"link set {LAN} up",
        *(f"link set {port} master {LAN} up" for port in beside),
    ]
    for address in neighbor.addresses:
        dad = " nodad" if address.version == 6 else ""
        lines.append(f"address replace {address} dev {LAN}{dad}")
    return Box(neighbor.box, ROUTER, (LAN,) if has_bridge else (), tuple(lines))


def own_addresses(world: World, upstream: Upstream) -> tuple[object, ...]:
    """An upstream's own addresses: the metadata service and its ends of BGP sessions."""
    neighbors = {
        session.neighbor for node in upstream.nodes for session in world.node(node).sessions
    }
    return tuple(sorted(neighbors | {METADATA4}, key=lambda a: (a.version, int(a))))


def _exchange_mac(address: IPv4Address) -> str:
    """A fixed MAC, so that a new box need not wait until its neighbors forget the old one."""
    return f"02:6d:65:75:00:{address.packed[3]:02x}"


def _bridge_mac(upstream: Upstream) -> str:
    groups = upstream.network6.network_address.exploded.split(":")
    return f"02:6d:{groups[2][:2]}:{groups[2][2:]}:{groups[3][:2]}:{groups[3][2:]}"


def _client(client: Client) -> Box:
    return Box(
        name=client.box,
        sysctl={},
        bridges=(),
        lines=(
            "link set lo up",
            f"link set {UPLINK} up",
            f"address replace {client.ipv4}/{client.network4.prefixlen} dev {UPLINK}",
            f"address replace {client.ipv6}/{client.network6.prefixlen} dev {UPLINK} nodad",
            f"route replace default via {client.gateway4}",
            f"route replace default via {client.gateway6}",
        ),
    )


def _vpc_ports(vpc: Vpc) -> tuple[tuple[str, str], ...]:
    """A VPC's routers and client, each with the name of its port at the upstream."""
    routers = [(router.box, f"r-{router.number}") for router in vpc.routers]
    return (*routers, (vpc.client, CLIENT))


def _vpc_boxes(upstream: Upstream) -> tuple[Box, ...]:
    """The boxes of the routers and the client in an upstream's VPC."""
    vpc = upstream.vpc
    if vpc is None:
        return ()
    return (
        *(_vpc_box(upstream, vpc, r.box, r.ipv4, r.length) for r in vpc.routers),
        _vpc_box(upstream, vpc, vpc.client, vpc.client4, vpc.network4.prefixlen),
    )


def _vpc_box(upstream: Upstream, vpc: Vpc, box: str, address: IPv4Address, length: int) -> Box:
    """A box with a private address and the VPC's gateway, which is on its link in any subnet."""
    return Box(
        name=box,
        sysctl={},
        bridges=(),
        lines=(
            "link set lo up",
            f"link set {UPLINK} mtu {vpc.mtu} up",
            f"address replace {address}/{length} dev {UPLINK}",
            f"route replace default via {upstream.gateway4} dev {UPLINK} onlink",
        ),
    )
