"""BGP sessions of a node: with its provider, and with the reflectors."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.limits import MOST_DIRECT
from mesh.plan import traffic
from mesh.plan.model import (
    Address,
    DirectSession,
    Family,
    Imports,
    ReflectorSession,
    TunnelAddresses,
    UpstreamSession,
    VpcSession,
)
from mesh.spec import Spec, capabilities
from mesh.spec.ids import provider_of
from mesh.spec.providers import Upstream


def upstreams(spec: Spec, node_id: str, ipv6: bool) -> tuple[UpstreamSession, ...]:
    """The eBGP sessions with each upstream: one per family that the node has."""
    families: list[Family] = []
    if spec.prefixes.ipv4 is not None:
        families.append("ipv4")
    if ipv6 and spec.prefixes.ipv6 is not None:
        families.append("ipv6")
    return tuple(
        _upstream(spec, node_id, upstream, family, neighbor)
        for upstream in capabilities.upstreams(node_id, spec.nodes[node_id])
        for family in families
        if (neighbor := getattr(upstream, family)) is not None
    )


def _upstream(
    spec: Spec, node_id: str, upstream: Upstream, family: Family, neighbor: Address
) -> UpstreamSession:
    name = f"{provider_of(node_id)}{family[-1]}"
    if upstream.name:
        name = f"up{family[-1]}_{upstream.name.replace('-', '_')}"
    return UpstreamSession(
        name=name,
        family=family,
        peer_asn=upstream.peer_asn,
        neighbor=neighbor,
        multihop=upstream.multihop,
        password=capabilities.password_name(node_id, upstream) if upstream.password else None,
        role=upstream.role,
        imports=_imports(spec, node_id, upstream, family),
        steering=traffic.steering(spec, node_id, upstream, family),
        blackhole=capabilities.blackhole(node_id, spec.nodes[node_id], upstream),
        label=upstream.name,
        local=upstream.local4 if family == "ipv4" else upstream.local6,
        interface=upstream.interface,
        hold_time=upstream.hold_time,
        gtsm=upstream.gtsm,
        bfd=upstream.bfd,
    )


def _imports(spec: Spec, node_id: str, upstream: Upstream, family: Family) -> Imports:
    limits = spec.routing.max_prefixes
    take = upstream.take or spec.nodes[node_id].take or spec.routing.take
    return Imports(take, upstream.limit or getattr(limits, family), limits.action)


def vpc(spec: Spec, node_id: str) -> tuple[VpcSession, ...]:
    """The eBGP sessions of a node with the routers of its VPC."""
    provider = capabilities.provider(node_id, spec.nodes[node_id])
    if provider is None or provider.vpc is None or spec.nodes[node_id].host is not None:
        return ()
    inside = provider.vpc
    return tuple(
        VpcSession(
            name=f"vpc{number}",
            peer_asn=getattr(spec.providers, provider.name).router_asn,
            multihop=inside.multihop,
            password=provider.name if inside.password else None,
            bfd=inside.bfd,
        )
        for number in range(1, inside.routers + 1)
    )


def reflectors(
    spec: Spec, node: str, tunnels: dict[str, TunnelAddresses]
) -> tuple[ReflectorSession, ...]:
    """iBGP: a client has sessions with all reflectors, a reflector with all nodes."""
    hubs = set(spec.reflectors)
    peers = [peer for peer in (spec.nodes if node in hubs else hubs) if peer != node]
    return tuple(
        ReflectorSession(
            name=_ibgp_name(peer, family),
            family=family,
            peer=peer,
            neighbor=getattr(tunnels[peer], family),
            client=node in hubs and peer not in hubs,
        )
        for peer, family in _by_number(spec, peers)
    )


def direct(spec: Spec, node: str, tunnels: dict[str, TunnelAddresses]) -> tuple[DirectSession, ...]:
    """iBGP sessions among nodes that are no reflectors, in networks of at most MOST_DIRECT nodes.
    Without them only reflectors announce the services of other nodes: while the only reflector is
    down, a service that fails here would have no other instance for this node's clients."""
    hubs = set(spec.reflectors)
    if node in hubs or len(spec.nodes) > MOST_DIRECT:
        return ()
    peers = [peer for peer in spec.nodes if peer != node and peer not in hubs]
    return tuple(
        DirectSession(_ibgp_name(peer, family), family, peer, getattr(tunnels[peer], family))
        for peer, family in _by_number(spec, peers)
    )


def _by_number(spec: Spec, peers: list[str]) -> Iterator[tuple[str, Family]]:
    """Peers by their tunnel numbers, each in every family of the aggregates."""
    every: tuple[Family, ...] = ("ipv4", "ipv6")
    families = [family for family in every if getattr(spec.prefixes, family) is not None]
    for peer in sorted(peers, key=lambda peer: spec.nodes[peer].number):
        for family in families:
            yield peer, family


def _ibgp_name(peer: str, family: Family) -> str:
    """BIRD's name for the session: the same whatever a peer's role, which may change."""
    return f"mate{family[-1]}_{peer.replace('-', '_')}"
