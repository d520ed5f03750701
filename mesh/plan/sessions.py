"""BGP sessions of a node: with its provider, and with the reflectors."""

from __future__ import annotations

from mesh.plan.model import Address, AddressPair, Family, ReflectorSession, UpstreamSession
from mesh.spec import Spec
from mesh.spec.providers import PROVIDERS


def upstreams(spec: Spec, provider_name: str, ipv6: bool) -> tuple[UpstreamSession, ...]:
    """The eBGP sessions that the provider prescribes: one per family that the node has."""
    provider = PROVIDERS[provider_name]
    if provider.peer_asn is None:
        return ()
    neighbours: list[tuple[Family, Address | None]] = [("ipv4", provider.peer_ipv4)]
    if ipv6 and spec.prefixes.ipv6 is not None:
        neighbours.append(("ipv6", provider.peer_ipv6))
    return tuple(
        UpstreamSession(
            name=f"{provider_name}{family[-1]}",
            family=family,
            peer_asn=provider.peer_asn,
            neighbor=neighbor,
            multihop=provider.multihop,
            password=provider_name if provider.password else None,
        )
        for family, neighbor in neighbours
        if neighbor is not None
    )


def reflectors(
    spec: Spec, node: str, tunnels: dict[str, AddressPair]
) -> tuple[ReflectorSession, ...]:
    """iBGP: a client speaks with every reflector; a reflector with its clients and its peers."""
    hubs = set(spec.reflectors)
    mates = [mate for mate in spec.nodes if mate != node and (mate in hubs or node in hubs)]
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
