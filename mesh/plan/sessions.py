"""BGP sessions of a node: with its provider, and with the reflectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Interior:
    """What the sessions in the network's own ASN follow from: the nodes' tunnel addresses and the
    reflectors, both in the order of their tunnel numbers, and the families of the aggregates."""

    tunnels: Mapping[str, TunnelAddresses]
    reflectors: tuple[str, ...]
    families: tuple[Family, ...]

    def with_reflectors(self, node: str) -> tuple[ReflectorSession, ...]:
        """A client has sessions with all reflectors, a reflector with all nodes."""
        reflects = node in self.reflectors
        return tuple(
            ReflectorSession(
                name=_ibgp_name(peer, family),
                family=family,
                peer=peer,
                neighbor=getattr(self.tunnels[peer], family),
                client=reflects and peer not in self.reflectors,
            )
            for peer, family in self._with(node, self.tunnels if reflects else self.reflectors)
        )

    def direct(self, node: str) -> tuple[DirectSession, ...]:
        """Sessions among nodes that are no reflectors, in networks of at most MOST_DIRECT nodes.
        Without them only reflectors announce the services of other nodes: while the only reflector
        is down, a service that fails here would have no other instance for this node's clients."""
        if node in self.reflectors or len(self.tunnels) > MOST_DIRECT:
            return ()
        peers = [peer for peer in self.tunnels if peer not in self.reflectors]
        return tuple(
            DirectSession(
                _ibgp_name(peer, family), family, peer, getattr(self.tunnels[peer], family)
            )
            for peer, family in self._with(node, peers)
        )

    def _with(self, node: str, peers: Iterable[str]) -> Iterator[tuple[str, Family]]:
        return ((peer, family) for peer in peers if peer != node for family in self.families)


def interior(spec: Spec, tunnels: Mapping[str, TunnelAddresses]) -> Interior:
    """What the iBGP sessions of a spec follow from."""

    def by_number(nodes: Iterable[str]) -> list[str]:
        return sorted(nodes, key=lambda node: spec.nodes[node].number)

    every: tuple[Family, ...] = ("ipv4", "ipv6")
    return Interior(
        {node: tunnels[node] for node in by_number(tunnels)},
        tuple(by_number(spec.reflectors)),
        tuple(family for family in every if getattr(spec.prefixes, family) is not None),
    )


def _ibgp_name(peer: str, family: Family) -> str:
    """BIRD's name for the session: the same whatever a peer's role, which may change."""
    return f"mate{family[-1]}_{peer.replace('-', '_')}"
