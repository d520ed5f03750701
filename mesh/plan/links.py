"""Which nodes have a tunnel to each other, and the numbers of both ends.

Every number follows from the tunnel numbers of the two nodes in the stack file, so adding a node
does not change existing links.
"""

from __future__ import annotations

from collections import defaultdict
from ipaddress import IPv4Address, IPv6Address

from mesh.operating_systems import OperatingSystem
from mesh.plan.distance import cost
from mesh.plan.model import Bfd, Link
from mesh.spec import Spec, capabilities
from mesh.spec.ids import interface, numbered_interface, split_id

UNDERLAY_ASN_BASE = 4_200_000_000
"""Private 32-bit ASNs start here (RFC 6996); a node's is this plus its tunnel number."""

WIREGUARD_OVERHEAD = 80
"""Outer IPv6 40 + UDP 8 + WireGuard 32 bytes; an IPv4 outer header needs 20 less."""

_LINK_LOCAL4 = int(IPv4Address("169.254.64.0"))
"""Below the address of the clouds' metadata services (169.254.169.254) for every number."""
_LINK_LOCAL = int(IPv6Address("fe80::"))


def underlay_asn(number: int) -> int:
    """The private ASN of a node on its tunnels."""
    return UNDERLAY_ASN_BASE + number


def link_local4(number: int) -> IPv4Address:
    """The IPv4 address of the tunnel to the node of that number, which no other interface has: BIRD
    gives it to OpenBSD's kernel as the gateway of a direct route, and the kernel finds the
    interface by it (``krt_send_route`` in BIRD's sysdep/bsd/krt-sock.c, ``ifa_ifwithroute`` in
    OpenBSD's sys/net/route.c). It never leaves the node."""
    return IPv4Address(_LINK_LOCAL4 + number)


def link_local(number: int) -> IPv6Address:
    """A node's link-local address, the same on each of its tunnels."""
    return IPv6Address(_LINK_LOCAL + number)


def neighbors(spec: Spec) -> dict[str, tuple[str, ...]]:
    """For each node the nodes that it has a tunnel to, sorted by tunnel number.

    A full mesh up to ``tunnels.fullMesh`` nodes; above it every node has tunnels to the nodes of
    its region and to all reflectors.
    """
    ordered = sorted(spec.nodes, key=lambda node_id: spec.nodes[node_id].number)
    if len(ordered) <= spec.tunnels.full_mesh:
        return {node: tuple(peer for peer in ordered if peer != node) for node in ordered}
    hubs = set(spec.reflectors)
    by_region: dict[str, list[str]] = defaultdict(list)
    for node in ordered:
        by_region[split_id(node)[0]].append(node)
    return {
        node: tuple(
            peer
            for peer in (ordered if node in hubs else _near(node, by_region, hubs, spec))
            if peer != node
        )
        for node in ordered
    }


def _near(node: str, by_region: dict[str, list[str]], hubs: set[str], spec: Spec) -> list[str]:
    near = hubs | set(by_region[split_id(node)[0]])
    return sorted(near, key=lambda peer: spec.nodes[peer].number)


def is_full_mesh(spec: Spec) -> bool:
    """Whether every node has a tunnel to every other one."""
    return len(spec.nodes) <= spec.tunnels.full_mesh


def link(spec: Spec, node: str, peer: str, bfd: dict[frozenset[str], Bfd]) -> Link:
    """The end, at ``node``, of its tunnel to ``peer``."""
    here, there = spec.nodes[node].number, spec.nodes[peer].number
    return Link(
        peer=peer,
        interface=_interface(spec, node, peer),
        local4=link_local4(there) if _numbers_interfaces(spec, node) else None,
        port=spec.tunnels.port + there - 1,
        peer_port=spec.tunnels.port + here - 1,
        local=link_local(here),
        remote=link_local(there),
        peer_asn=underlay_asn(there),
        cost=cost(_location(spec, node), _location(spec, peer)) + _members(spec, node, peer),
        mtu=min(_mtu(spec, node), _mtu(spec, peer)) - WIREGUARD_OVERHEAD,
        bfd=bfd.get(frozenset((node, peer)), default_bfd(spec)),
    )


def _interface(spec: Spec, node: str, peer: str) -> str:
    """The name that the node's system takes for its interface to a peer."""
    if _numbers_interfaces(spec, node):
        return numbered_interface(spec.nodes[peer].number)
    return interface(peer)


def _numbers_interfaces(spec: Spec, node: str) -> bool:
    return spec.nodes[node].os is OperatingSystem.OPENBSD


def default_bfd(spec: Spec) -> Bfd:
    """BFD timers of a link that has none of its own in the stack file."""
    return Bfd(spec.tunnels.bfd.interval, spec.tunnels.bfd.multiplier)


def own_bfd(spec: Spec) -> dict[frozenset[str], Bfd]:
    """BFD timers given for single links, by the set of their two ends."""
    return {
        frozenset(name.split(":")): Bfd(timers.interval, timers.multiplier)
        for name, timers in spec.tunnels.links.items()
    }


def _location(spec: Spec, node: str) -> tuple[float, float]:
    return spec.regions[split_id(node)[0]].location


def _mtu(spec: Spec, node: str) -> int:
    provider = capabilities.provider(node, spec.nodes[node])
    assert provider is not None, "the spec has been checked"
    return provider.mtu


def _members(spec: Spec, *ends: str) -> int:
    """The additional cost of a link for each end that is a member: of an edge and a member at the
    same distance the edge is preferred, also as transit."""
    return sum(not capabilities.upstreams(end, spec.nodes[end]) for end in ends)
