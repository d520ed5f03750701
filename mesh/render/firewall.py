"""The plan's firewall rules in nftables syntax."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from mesh.facts import Placement
from mesh.plan import Address, FirewallRule, Link, Network, Node, Plan, Role, UpstreamSession
from mesh.render.text import text
from mesh.spec.checks.admin import WORLD
from mesh.spec.ports import BFD_SINGLE_HOP, BGP

AddressSets = tuple["AddressSet", ...]


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A named set of addresses of one family."""

    name: str
    type: str
    elements: tuple[str, ...]


def groups(plan: Plan, node: Node, places: Mapping[str, Placement]) -> AddressSets:
    """The sets that the rules name, in both families, also empty ones.

    ``nodes`` are the peers that this node has a tunnel to, the only sources of WireGuard packets.
    ``fleet`` are all nodes, the clients of a registry. ``upstreams`` are the neighbors that may
    come in by any interface, ``monitors`` the tunnel addresses of the nodes that monitor.
    """
    nodes = [places[link.peer] for link in node.links if link.peer in places]
    members: dict[str, list[Address | Network]] = {
        "admin": list(plan.access.admin),
        "registry": list(plan.access.registry),
        "nodes": _both(nodes),
        "upstreams": [each.neighbor for each in node.upstreams if each.interface is None],
        **({"routers": list(places[node.id].routers)} if node.vpc else {}),
        **({"fleet": _both(places.values())} if Role.REGISTRY in node.roles else {}),
        **({"monitors": _monitors(plan)} if Role.MONITOR in node.roles else {}),
    }
    return tuple(
        AddressSet(f"{name}{version}", f"ipv{version}_addr", _elements(addresses, version))
        for name, addresses in members.items()
        for version in (4, 6)
    )


@dataclass(frozen=True, slots=True)
class FormerPort:
    """A port to which a peer still sends what goes to ``port`` in the plan; ``taken``: it is the
    port of another tunnel in the plan."""

    peer: IPv4Address
    former: int
    port: int
    taken: bool


def former_ports(links: Sequence[Link], places: Mapping[str, Placement]) -> list[FormerPort]:
    """The former ports of a node's tunnels. The peer tells them apart: what was the port of one
    tunnel may be that of another now."""
    ports = {link.port for link in links}
    return [
        FormerPort(
            places[link.peer].ipv4, link.former_port, link.port, taken=link.former_port in ports
        )
        for link in links
        if link.former_port is not None
    ]


def _monitors(plan: Plan) -> list[Address | Network]:
    return [address for one in plan.with_role(Role.MONITOR) for address in one.tunnel.both()]


def _both(places: Iterable[Placement]) -> list[Address | Network]:
    return [a for one in places for a in (one.ipv4, one.ipv6) if a is not None]


def _elements(addresses: Iterable[Address | Network], version: int) -> tuple[str, ...]:
    """Sorted addresses of one family, without repetition, as nft writes them."""
    found = {(_first(each), text(each)) for each in addresses if each.version == version}
    return tuple(written for _, written in sorted(found))


def _first(each: Address | Network) -> int:
    return int(each.network_address if isinstance(each, Network) else each)


def accepted(plan: Plan, node: Node) -> Iterator[tuple[FirewallRule, UpstreamSession | None]]:
    """The plan's rules that apply to this node: each as it is, for its sources, and for each
    neighbor on the link of an interface, which may come in from there only. Those of ``routers``
    need a VPC, which a member may not have."""
    for rule in plan.firewall:
        applies = not rule.roles or set(rule.roles) & set(node.roles)
        if applies and (node.vpc or rule.source != "routers"):
            yield rule, None
        if applies and rule.source == "upstreams":
            yield from ((rule, session) for session in node.upstreams if _on_link(rule, session))


def _on_link(rule: FirewallRule, session: UpstreamSession) -> bool:
    """Whether a rule is for this neighbor on the link of an interface."""
    asked = rule.ports[0] == BGP or (session.bfd and rule.ports[0] == BFD_SINGLE_HOP)
    return session.interface is not None and asked


def rules(plan: Plan, node: Node) -> dict[str, list[str]]:
    """The rules of each zone that apply to this node, one line of nftables each."""
    zones: dict[str, list[str]] = {"uplink": [], "tunnel": [], "announced": []}
    for rule, session in accepted(plan, node):
        zones[rule.zone].extend(_lines(rule) if session is None else [_neighbor(rule, session)])
    return zones


def _neighbor(rule: FirewallRule, session: UpstreamSession) -> str:
    return (
        f'iifname "{session.interface}" {_FAMILIES[session.neighbor.version]} '
        f"saddr {session.neighbor} "
        f'{rule.protocol} dport {rule.ports[0]} accept comment "{rule.name}"'
    )


def _lines(rule: FirewallRule) -> list[str]:
    low, high = rule.ports
    ports = str(low) if low == high else f"{low}-{high}"
    match = f"{rule.protocol} dport {ports}"
    comment = f'comment "{rule.name}"'
    if rule.source == "anyone":
        return [f"{match} accept {comment}"]
    if rule.source == "limited":
        return [f"{match} goto {rule.name} {comment}"]
    if rule.source == "mesh" and rule.zone == "announced":
        # Out of a tunnel and from a node: a client's packet for another edge comes in there too,
        # and a link-local source is a neighbor's at the uplink.
        return [
            f'iifname "wg-*" ip saddr $tunnels4 {match} accept {comment}',
            f'iifname "wg-*" ip6 saddr $tunnels6 {match} accept {comment}',
        ]
    if rule.source == "mesh":
        # Link-local for the underlay and its BFD, tunnel addresses for iBGP.
        return [
            f"ip saddr $tunnels4 {match} accept {comment}",
            f"ip6 saddr {{ fe80::/10, $tunnels6 }} {match} accept {comment}",
        ]
    if rule.source == "registry":
        return [f"{match} goto registry {comment}"]
    return [
        f"ip saddr @{rule.source}4 {match} accept {comment}",
        f"ip6 saddr @{rule.source}6 {match} accept {comment}",
    ]


@dataclass(frozen=True, slots=True)
class Callers:
    """Clients of a registry, as matches of source addresses: ``known`` ones always pass,
    ``strangers`` (by family) up to their rate limits. With ``planned`` there is a set that the
    node's agent fills with planned nodes, which pass as well. With ``sites`` a /48 has a limit,
    too."""

    known: tuple[str, ...]
    strangers: Mapping[int, str]
    planned: bool
    sites: bool


def callers(plan: Plan) -> Callers:
    """The clients of a generation's registry: known are the nodes, and the networks of
    ``mesh:admin.ssh`` unless they are a large part of the Internet."""
    known = ("fleet", "admin") if _knows_admins(plan) else ("fleet",)
    return Callers(
        tuple(f"{ip} saddr @{group}{v}" for group in known for v, ip in _FAMILIES.items()),
        {v: f"{ip} saddr @registry{v}" for v, ip in _FAMILIES.items()},
        planned=plan.access.names_callers,
        sites=True,
    )


def first_callers(plan: Plan) -> Callers:
    """The same before the first generation, when no node is known; short, since the size of user
    data is limited."""
    admins = _sources(plan.access.admin) if _knows_admins(plan) else {}
    return Callers(
        tuple(admins.values()),
        _sources(plan.access.registry),
        planned=plan.access.names_callers,
        sites=False,
    )


_FAMILIES = {4: "ip", 6: "ip6"}


def _sources(networks: Iterable[Network]) -> dict[int, str]:
    """Matches of networks by family, without empty families."""
    elements = {version: _elements(networks, version) for version in _FAMILIES}
    return {
        v: f"{_FAMILIES[v]} saddr {{ {', '.join(some)} }}" for v, some in elements.items() if some
    }


def _knows_admins(plan: Plan) -> bool:
    """Whether no network of ``mesh:admin.ssh`` is a large part of the Internet."""
    return all(network.prefixlen >= WORLD[network.version] for network in plan.access.admin)
