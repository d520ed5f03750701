"""What a provider's own firewall has to let through, in no provider's words.

It stands in front of the node's nftables ruleset, which is exact: so what only some nodes need is
opened to all nodes of the provider here, and a tunnel's inside is nobody's business but the node's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Literal

from mesh.plan import Network, Node, Plan, Role, Rule
from mesh.plan.firewall import PRIVATE4

ANYONE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))

PRIVATE: tuple[Network, ...] = tuple(map(ip_network, PRIVATE4))

Protocol = Literal["tcp", "udp", "icmp"]


@dataclass(frozen=True, slots=True)
class Opening:
    """Packets of one family and protocol that are let in; ``icmp`` of family 6 is ICMPv6.

    ``ports`` is an inclusive range, None for ICMP. They come from ``networks``; or from the public
    IPv4 address of ``node``, which only its provider knows; or, with ``routers``, from the BGP
    speakers of the node's own VPC, which the driver knows. ``name`` is unique among the openings
    of a plan.
    """

    name: str
    family: Literal[4, 6]
    protocol: Protocol
    ports: tuple[int, int] | None
    networks: tuple[Network, ...] = ()
    node: str | None = None
    routers: bool = False


def openings(plan: Plan, nodes: Sequence[Node]) -> tuple[Opening, ...]:
    """The openings that these nodes, all of one provider, need between them."""
    roles = {role for node in nodes for role in node.roles}
    found = [*_of_protocol("icmp", "icmp", None, ANYONE)]
    for rule in plan.firewall:
        if rule.zone != "tunnel" and (not rule.roles or roles & set(rule.roles)):
            found.extend(_of_rule(plan, nodes, rule))
    return tuple(found)


def _of_rule(plan: Plan, nodes: Sequence[Node], rule: Rule) -> Iterator[Opening]:
    match rule.source:
        case "nodes":
            # One each, so that a node takes its own along when it goes; to the one port that all
            # others keep for it, so that a node that comes changes no other's. Tunnels run over
            # IPv4.
            ports = {link.peer: link.port for node in nodes for link in node.links}
            for mate, port in sorted(ports.items()):
                yield Opening(f"{rule.name}-{mate}", 4, rule.protocol, (port, port), node=mate)
        case "routers":
            # Not every VPC's routers speak BFD, which is what comes over UDP.
            if rule.protocol == "tcp" or any(s.bfd for node in nodes for s in node.vpc):
                yield Opening(rule.name, 4, rule.protocol, rule.ports, routers=True)
        case "anyone":
            # A packet for the aggregates comes from the Internet at edges only; at members from
            # those who live in their VPC, whatever private range that has.
            if any(node.upstreams for node in nodes):
                yield from _of_protocol(rule.name, rule.protocol, rule.ports, ANYONE)
            elif any(node.vpc for node in nodes):
                yield from _of_protocol(rule.name, rule.protocol, rule.ports, PRIVATE)
        case "mesh":
            raise AssertionError("the mesh's own addresses are inside the tunnels")
        case "admin":
            yield from _of_protocol(rule.name, rule.protocol, rule.ports, plan.access.admin)
        case "registry":
            yield from _of_protocol(rule.name, rule.protocol, rule.ports, plan.access.registry)
            if plan.access.names_callers:
                # Their addresses are reserved before any server is made. One each, as above.
                registries = {node.id for node in nodes if Role.REGISTRY in node.roles}
                for mate in sorted(node.id for node in plan.nodes if registries != {node.id}):
                    yield Opening(f"{rule.name}-{mate}", 4, rule.protocol, rule.ports, node=mate)
        case "upstreams":
            speakers = {s.neighbor for node in nodes for s in node.upstreams}
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
