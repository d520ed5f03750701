"""What a provider's own firewall has to let through, independent of the provider.

Behind it is the node's nftables ruleset, which is exact: so what only some nodes need is opened to
all nodes of the provider here, and the inside of tunnels is left to the node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal

from mesh.plan import FirewallRule, Network, Node, Plan, Role
from mesh.plan.firewall import PRIVATE4

ANYONE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))

PRIVATE: tuple[Network, ...] = tuple(map(ip_network, PRIVATE4))

Protocol = Literal["tcp", "udp", "icmp"]


@dataclass(frozen=True, slots=True)
class Opening:
    """Packets of one family and protocol that are let in; ``icmp`` of family 6 is ICMPv6.

    ``ports`` is an inclusive range, None for ICMP. The sources are ``networks``; or the public IPv4
    address of ``node``, which only its provider knows; or, with ``routers``, the BGP speakers of
    the node's own VPC, which the driver knows. ``name`` is unique among a plan's openings.
    """

    name: str
    family: Literal[4, 6]
    protocol: Protocol
    ports: tuple[int, int] | None
    networks: tuple[Network, ...] = ()
    node: str | None = None
    routers: bool = False


def openings(plan: Plan, nodes: Sequence[Node]) -> tuple[Opening, ...]:
    """The openings that these nodes, all of one provider, need together."""
    roles = {role for node in nodes for role in node.roles}
    found = [*_of_protocol("icmp", "icmp", None, ANYONE)]
    for rule in plan.firewall:
        if rule.zone != "tunnel" and (not rule.roles or roles & set(rule.roles)):
            found.extend(_of_rule(plan, nodes, rule))
    return tuple(found)


def _of_rule(plan: Plan, nodes: Sequence[Node], rule: FirewallRule) -> Iterator[Opening]:
    match rule.source:
        case "nodes":
            # One for each peer, which goes with it; to the port that all others have for it, so
            # that a new node changes no other opening. Tunnels run over IPv4.
            ports = {link.peer: link.port for node in nodes for link in node.links}
            for peer, port in sorted(ports.items()):
                yield Opening(f"{rule.name}-{peer}", 4, rule.protocol, (port, port), node=peer)
        case "routers":
            # UDP is BFD, which not every VPC's routers speak.
            if rule.protocol == "tcp" or any(s.bfd for node in nodes for s in node.vpc):
                yield Opening(rule.name, 4, rule.protocol, rule.ports, routers=True)
        case "anyone" | "limited":
            # Packets for the aggregates come from the Internet at edges only; at members from
            # their VPC, which may have any private range.
            if any(node.upstreams for node in nodes):
                yield from _of_protocol(rule.name, rule.protocol, rule.ports, ANYONE)
            elif any(node.vpc for node in nodes):
                yield from _of_protocol(rule.name, rule.protocol, rule.ports, PRIVATE)
        case "mesh" | "monitors":
            return  # Their addresses are inside the tunnels.
        case "admin":
            yield from _of_protocol(rule.name, rule.protocol, rule.ports, plan.access.admin)
        case "registry":
            yield from _of_protocol(rule.name, rule.protocol, rule.ports, plan.access.registry)
            if plan.access.names_callers:
                # Their addresses are reserved before any server is made. One for each, as above.
                registries = {node.id for node in nodes if Role.REGISTRY in node.roles}
                for caller in sorted(node.id for node in plan.nodes if registries != {node.id}):
                    name = f"{rule.name}-{caller}"
                    yield Opening(name, 4, rule.protocol, rule.ports, node=caller)
        case "upstreams":
            # A neighbor on the link of an interface of its own passes no firewall of the provider.
            sessions = [s for node in nodes for s in node.upstreams if s.interface is None]
            speakers = {s.neighbor for s in sessions}
            networks = tuple(ip_network(each) for each in sorted(speakers, key=str))
            yield from _of_protocol(rule.name, rule.protocol, rule.ports, networks)


def _of_protocol(
    name: str,
    protocol: Protocol,
    ports: tuple[int, int] | None,
    networks: Sequence[Network],
) -> Iterator[Opening]:
    """An opening for each family that has networks."""
    families: tuple[Literal[4, 6], ...] = (4, 6)
    for family in families:
        of_family = tuple(network for network in networks if network.version == family)
        if of_family:
            yield Opening(f"{name}-v{family}", family, protocol, ports, of_family)
