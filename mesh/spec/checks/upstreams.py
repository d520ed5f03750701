"""Sessions with upstreams: their names, neighbors, and own addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal

from mesh.operating_systems import OperatingSystem
from mesh.spec import capabilities
from mesh.spec.aggregates import aggregates
from mesh.spec.checks.hosts import check_blackhole
from mesh.spec.examples import for_example
from mesh.spec.model import Node, NodeUpstream, Prefixes, Tunnels
from mesh.spec.problems import Problem
from mesh.spec.section import Sections

Address = IPv4Address | IPv6Address
Family = Literal["ipv4", "ipv6"]
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")

LONGEST_WAIT = 90
"""Hold times above this leave a dead neighbor in use for minutes."""
OURS = {OperatingSystem.DEBIAN: ("lo", "dummy0", "wg-"), OperatingSystem.OPENBSD: ("lo", "wg")}
"""Beginnings of the names of interfaces that no neighbor is on."""
LIKELY = {OperatingSystem.DEBIAN: "eth1", OperatingSystem.OPENBSD: "vio1"}
"""What an interface that a neighbor is on may be called."""


def check_upstreams(sections: Sections) -> Iterator[Problem]:
    """Every entry of ``upstreams`` can be a session: its name, ASN, interface and options."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    for node_id, node in nodes.items():
        facts = capabilities.provider(node_id, node)
        key = f"mesh:nodes.{node_id}.upstreams"
        if node.upstreams and facts is not None and not facts.announces:
            yield Problem(
                key, ", ".join(each.name for each in node.upstreams), facts.refusal,
                "remove them: the node serves inside the mesh, and its replies leave at an edge",
            )  # fmt: skip
            continue
        names = [each.name for each in node.upstreams]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield Problem(
                f"{key}.{name}", name, "two sessions of the node have this name",
                "give each its own",
            )  # fmt: skip
        for given in node.upstreams:
            yield from _check_entry(f"{key}.{given.name}", node, given, sections)


def _check_entry(
    key: str, node: Node, given: NodeUpstream, sections: Sections
) -> Iterator[Problem]:
    if given.ipv4 is None and given.ipv6 is None:
        yield Problem(
            key, f"asn {given.asn}", "a session needs a neighbor",
            for_example(
                "add ipv4, ipv6 or both, as the neighbor gave them",
                "nodes", "*", "upstreams", "0", "ipv4",
            ),
        )  # fmt: skip
    prefixes: Prefixes | None = sections.get("prefixes")
    neighbors = {each for each in FAMILIES if getattr(given, each) is not None}
    useful = {each for each in neighbors if getattr(prefixes, each, None) is not None}
    if prefixes is not None and neighbors and not useful:
        yield Problem(
            key, ", ".join(sorted(neighbors)), "the network has no prefix of that family, so "
            "nothing would be announced there", "add the neighbor's other address, or remove it",
        )  # fmt: skip
    if given.asn == sections.get("asn"):
        yield Problem(
            f"{key}.asn", str(given.asn), "it is this network's own ASN", "give the neighbor's"
        )
    if given.interface is not None and given.interface.startswith(OURS[node.os]):
        yield Problem(
            f"{key}.interface", given.interface, "the mesh makes that interface, and no neighbor "
            "is on it", "give the one that the neighbor is connected to, for example "
            f"{LIKELY[node.os]}",
        )  # fmt: skip
    if given.interface is not None and given.multihop is not None:
        yield Problem(
            f"{key}.multihop", str(given.multihop),
            f"a neighbor on the link of {given.interface} is one hop away",
            "remove multihop or interface",
        )  # fmt: skip
    if given.hold_time > LONGEST_WAIT:
        yield Problem(
            f"{key}.holdTime", str(given.hold_time),
            f"a dead neighbor that nothing else shows stays in use for {given.hold_time} s",
            f"give {LONGEST_WAIT} at most, unless the neighbor asks for more",
            severity="warning",
        )  # fmt: skip
    if given.blackhole is not None:
        yield from check_blackhole(f"{key}.blackhole", given.asn, given.blackhole)
    yield from _check_families(key, node, given)


def _check_families(key: str, node: Node, given: NodeUpstream) -> Iterator[Problem]:
    """Every own address has a neighbor of its family, and every neighbor an own address."""
    for family in FAMILIES:
        neighbor, local = getattr(given, family), getattr(given.local, family)
        if local is not None and neighbor is None:
            yield Problem(
                f"{key}.local.{family}", str(local.ip), f"the session has no {family} neighbor",
                f"add {family}, or remove it",
            )  # fmt: skip
        if local is not None and not _is_of_one_host(local):
            yield Problem(
                f"{key}.local.{family}", str(local.ip), "no interface of a host has it",
                "give the address that the node has on the neighbor's link",
            )  # fmt: skip
    if given.local.ipv6 is not None and (zone := given.local.ipv6.scope_id) is not None:
        yield Problem(
            f"{key}.local.ipv6", str(given.local.ipv6), "the zone belongs into a key of its own",
            f"write {IPv6Address(int(given.local.ipv6.ip))}, and interface: {zone}",
        )  # fmt: skip
    without = given.interface is None and given.local.ipv6 is None
    if given.ipv6 is not None and node.ipv6 and node.host and not node.host.ipv6 and without:
        yield Problem(
            f"{key}.ipv6", str(given.ipv6),
            "the host has no IPv6 address that such a session could start from",
            "add host.ipv6, or local.ipv6, or remove this neighbor",
        )  # fmt: skip


def _is_of_one_host(local: IPv4Interface | IPv6Interface) -> bool:
    address = local.ip
    nowhere = address.is_unspecified or address.is_multicast or address.is_loopback
    return not nowhere and _of_the_subnet(address, local) is None


def _of_the_subnet(address: Address, local: IPv4Interface | IPv6Interface) -> str | None:
    """What of the IPv4 subnet the address is, if no host may have it: a /31 has none such."""
    network = local.network
    if network.version == 6 or network.prefixlen >= 31:
        return None
    if address == network.network_address:
        return f"the first address of {network}, which is the subnet itself"
    if address == network.broadcast_address:
        return f"the last address of {network}, which is its broadcast address"
    return None


@dataclass(frozen=True, slots=True)
class _Neighbor:
    """A neighbor of a node, of one family, with what the stack file says of the way to it."""

    key: str
    address: Address
    local: IPv4Interface | IPv6Interface | None
    interface: str | None
    multihop: int | None


def check_neighbors(sections: Sections) -> Iterator[Problem]:
    """Every neighbor is another router that can be reached, and has one session only."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    hosts = {
        address: node_id
        for node_id, node in nodes.items()
        if node.host is not None
        for address in (node.host.ipv4, node.host.ipv6)
        if address is not None
    }
    for node_id, node in nodes.items():
        first: dict[tuple[Address, str | None], str] = {}
        for neighbor in _neighbors(node_id, node):
            problem = _unlikely(neighbor, hosts, sections) or _out_of_reach(neighbor)
            link = (neighbor.address, neighbor.interface)
            if problem is None and link in first:
                problem = (
                    f"{first[link]} has this neighbor already, and BGP has one session with it",
                    "remove one of the two",
                )
            first.setdefault(link, neighbor.key)
            if problem is not None:
                yield Problem(neighbor.key, str(neighbor.address), *problem)


def _neighbors(node_id: str, node: Node) -> Iterator[_Neighbor]:
    key = f"mesh:nodes.{node_id}"
    upstream = None if node.host is None else node.host.upstream
    for family in FAMILIES:
        if upstream is not None and (address := getattr(upstream, family)) is not None:
            place = f"{key}.host.upstream.{family}"
            yield _Neighbor(place, address, None, None, upstream.multihop)
        for given in node.upstreams:
            if (address := getattr(given, family)) is not None:
                place = f"{key}.upstreams.{given.name}.{family}"
                local = getattr(given.local, family)
                yield _Neighbor(place, address, local, given.interface, given.multihop)


def _unlikely(
    neighbor: _Neighbor, hosts: Mapping[Address, str], sections: Sections
) -> tuple[str, str] | None:
    """Why no router of another network has the address, and the cure."""
    address, theirs = neighbor.address, "give the address of the neighbor's router"
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        bare = IPv6Address(int(address))
        return (
            "the zone belongs into a key of its own",
            f"write {neighbor.key.rpartition('.')[2]}: {bare}, and interface: {address.scope_id}",
        )
    if neighbor.local is not None and address == neighbor.local.ip:
        return "it is the session's own address", theirs
    if address in hosts:
        return f"it is the address of {hosts[address]}, a node of ours", theirs
    if neighbor.local is not None and (what := _of_the_subnet(address, neighbor.local)):
        return f"it is {what}", theirs
    for is_so, reason in (
        (address.is_unspecified, "it is no address of any router"),
        (address.is_multicast, "it is a multicast address"),
        (address.is_loopback, "it is a loopback address, which is the node itself"),
        (str(address) == "255.255.255.255", "it is the broadcast address"),
    ):
        if is_so:
            return reason, theirs
    prefixes: Prefixes | None = sections.get("prefixes")
    tunnels: Tunnels | None = sections.get("tunnels")
    for ranges, reason in (
        (
            () if prefixes is None else aggregates(prefixes),
            "it is inside the aggregate {}, which is ours",
        ),
        (
            () if tunnels is None else (tunnels.ipv4, tunnels.ipv6),
            "it is inside {}, the range of the tunnels",
        ),
    ):
        for network in ranges:
            if address in network:
                return reason.format(network), theirs
    return None


def _out_of_reach(neighbor: _Neighbor) -> tuple[str, str] | None:
    """Why the node cannot reach the neighbor on a link of its own, and the cure."""
    address, local = neighbor.address, neighbor.local
    if isinstance(address, IPv6Address) and address.is_link_local:
        if neighbor.interface is None:
            return (
                "a link-local address is one of every link",
                "name the link in an entry of upstreams, for example interface: eth1",
            )
        if local is not None and not local.ip.is_link_local:
            return (
                f"it is reached from a link-local address, and local is {local.ip}",
                "remove local.ipv6, or give the interface's link-local address",
            )
        return None
    if local is None or local.network.prefixlen == local.max_prefixlen:
        return None  # the subnet is not known
    if address not in local.network and neighbor.multihop is None:
        return (
            f"it is outside {local.network}, the subnet of the session's own address",
            "correct one of the two, or add multihop: 2 where a router is between them",
        )
    return None
