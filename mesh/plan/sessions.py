"""BGP sessions of a node: with its provider, and with the reflectors."""

from __future__ import annotations

from mesh.plan import traffic
from mesh.plan.model import (
    Address,
    AddressPair,
    Family,
    Imports,
    ReflectorSession,
    UpstreamSession,
    VpcSession,
)
from mesh.spec import Spec, abilities
from mesh.spec.ids import provider_of


def upstreams(spec: Spec, node_id: str, ipv6: bool) -> tuple[UpstreamSession, ...]:
    """The eBGP sessions that the provider prescribes: one per family that the node has."""
    upstream = abilities.upstream(node_id, spec.nodes[node_id])
    if upstream is None:
        return ()
    provider = provider_of(node_id)
    neighbours: list[tuple[Family, Address | None]] = [("ipv4", upstream.ipv4)]
    if ipv6 and spec.prefixes.ipv6 is not None:
        neighbours.append(("ipv6", upstream.ipv6))
    return tuple(
        UpstreamSession(
            name=f"{provider}{family[-1]}",
            family=family,
            peer_asn=upstream.peer_asn,
            neighbor=neighbor,
            multihop=upstream.multihop,
            password=provider if upstream.password else None,
            role=upstream.role,
            imports=_imports(spec, node_id, family),
            steering=traffic.steering(spec, node_id, family),
            blackhole=abilities.blackhole(node_id, spec.nodes[node_id]),
        )
        for family, neighbor in neighbours
        if neighbor is not None
    )


def _imports(spec: Spec, node_id: str, family: Family) -> Imports:
    limits = spec.routing.max_prefixes
    take = spec.nodes[node_id].take or spec.routing.take
    return Imports(take, getattr(limits, family), limits.action)


def vpc(spec: Spec, node_id: str) -> tuple[VpcSession, ...]:
    """The eBGP sessions of a node with the routers of its VPC."""
    provider = abilities.provider(node_id, spec.nodes[node_id])
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
    spec: Spec, node: str, tunnels: dict[str, AddressPair]
) -> tuple[ReflectorSession, ...]:
    """iBGP: a client speaks with every reflector; a reflector with its clients and its peers."""
    hubs = set(spec.reflectors)
    mates = [mate for mate in (spec.nodes if node in hubs else hubs) if mate != node]
    families: tuple[Family, ...] = ("ipv4", "ipv6") if spec.prefixes.ipv6 else ("ipv4",)
    return tuple(
        ReflectorSession(
            name=f"mate{family[-1]}_{mate.replace('-', '_')}",
            family=family,
            peer=mate,
            neighbor=getattr(tunnels[mate], family),
            client=node in hubs and mate not in hubs,
        )
        for mate in sorted(mates, key=lambda mate: spec.nodes[mate].number)
        for family in families
    )
