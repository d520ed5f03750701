"""The firewall rules of every node: one list for the node's nftables ruleset and the provider's
firewall group."""

from __future__ import annotations

from collections.abc import Iterator

from mesh.plan.model import FirewallRule, Glass, PlannedService, Role, Source
from mesh.spec import Spec
from mesh.spec.ports import ALERTMANAGERS, BFD_MULTIHOP, BFD_SINGLE_HOP, BGP, RTR, SSH

PRIVATE4 = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
"""Private addresses, as in VPCs (RFC 1918, RFC 6598)."""

VPC = (
    FirewallRule("bgp-vpc", "uplink", "tcp", (BGP, BGP), "routers", (Role.MEMBER,)),
    FirewallRule(
        "bfd-vpc", "uplink", "udp", (BFD_SINGLE_HOP, BFD_SINGLE_HOP), "routers", (Role.MEMBER,)
    ),
)


def rules(
    spec: Spec, services: tuple[PlannedService, ...], glass: Glass | None, has_vpc: bool
) -> tuple[FirewallRule, ...]:
    """The rules of this network, those of the provider's address first."""
    numbers = [node.number for node in spec.nodes.values()]
    last = spec.tunnels.port + max(numbers) - 1
    registry = (spec.registry.port, spec.registry.port)
    return (
        FirewallRule("ssh", "uplink", "tcp", (SSH, SSH), "admin"),
        *_other_ssh(spec),
        FirewallRule("bgp-upstream", "uplink", "tcp", (BGP, BGP), "upstreams", (Role.EDGE,)),
        *_bfd_upstream(spec),
        FirewallRule("wireguard", "uplink", "udp", (spec.tunnels.port, last), "nodes"),
        FirewallRule("registry", "uplink", "tcp", registry, "registry", (Role.REGISTRY,)),
        FirewallRule("bgp-mesh", "tunnel", "tcp", (BGP, BGP), "mesh"),
        FirewallRule("bfd", "tunnel", "udp", (BFD_SINGLE_HOP, BFD_SINGLE_HOP), "mesh"),
        FirewallRule("bfd-multihop", "tunnel", "udp", (BFD_MULTIHOP, BFD_MULTIHOP), "mesh"),
        *(
            [FirewallRule("rtr", "tunnel", "tcp", (RTR, RTR), "mesh", (Role.REFLECTOR,))]
            * spec.rpki.local
        ),
        *_alertmanagers(spec),
        *(rule for rule in VPC if has_vpc),
        *_glass(glass),
        *_announced(services),
    )


GLASS_RULES = ("glass-mesh", "glass")
"""The names of the looking glass's rules."""


def _glass(glass: Glass | None) -> Iterator[FirewallRule]:
    """The looking glass at tunnel addresses and at announced ones, which are everybody's only where
    it is public."""
    if glass is not None:
        ports = (glass.port, glass.port)
        yield FirewallRule(GLASS_RULES[0], "tunnel", "tcp", ports, "mesh")
        source: Source = "limited" if glass.public else "mesh"
        yield FirewallRule(GLASS_RULES[1], "announced", "tcp", ports, source)


def _bfd_upstream(spec: Spec) -> Iterator[FirewallRule]:
    """BFD of upstreams: of neighbors on our link, and of those farther away."""
    given = [each for node in spec.nodes.values() for each in node.upstreams if each.bfd]
    for name, port, used in (
        ("bfd-upstream", BFD_SINGLE_HOP, any(each.multihop is None for each in given)),
        ("bfd-upstream-multihop", BFD_MULTIHOP, any(each.multihop for each in given)),
    ):
        if used:
            yield FirewallRule(name, "uplink", "udp", (port, port), "upstreams", (Role.EDGE,))


def _alertmanagers(spec: Spec) -> Iterator[FirewallRule]:
    """What several Alertmanagers tell each other: it is not authenticated, and silences alerts."""
    if spec.monitoring is not None and len(spec.monitoring.nodes) > 1:
        ports, roles = (ALERTMANAGERS, ALERTMANAGERS), (Role.MONITOR,)
        yield FirewallRule("alertmanager-tcp", "tunnel", "tcp", ports, "monitors", roles)
        yield FirewallRule("alertmanager-udp", "tunnel", "udp", ports, "monitors", roles)


def _other_ssh(spec: Spec) -> tuple[FirewallRule, ...]:
    """Other SSH ports of existing hosts, which the operator must not lock out."""
    ports = {node.host.ssh.port for node in spec.nodes.values() if node.host is not None}
    return tuple(
        FirewallRule(f"ssh-{port}", "uplink", "tcp", (port, port), "admin")
        for port in sorted(ports - {SSH})
    )


def _announced(services: tuple[PlannedService, ...]) -> tuple[FirewallRule, ...]:
    """Ports of all services on all addresses of the aggregates, since a packet for any of them may
    arrive at any node."""
    tcp = sorted({port for service in services for port in service.ports.tcp})
    udp = sorted({port for service in services for port in service.ports.udp})
    return tuple(
        [FirewallRule(f"service-tcp-{p}", "announced", "tcp", (p, p), "anyone") for p in tcp]
        + [FirewallRule(f"service-udp-{p}", "announced", "udp", (p, p), "anyone") for p in udp]
    )
