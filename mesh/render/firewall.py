"""The plan's firewall rules in the words of nftables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mesh.facts import Placement
from mesh.plan import Node, Plan, Rule

Groups = tuple["Group", ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of addresses of one family."""

    name: str
    type: str
    elements: tuple[str, ...]


def groups(plan: Plan, node: Node, places: Mapping[str, Placement]) -> Groups:
    """The sets that the rules name, in both families: always all, so that a rule never dangles.

    ``nodes`` holds the mates that this node has a tunnel to: nobody else sends it WireGuard.
    """
    nodes = [places[link.peer] for link in node.links if link.peer in places]
    members: dict[str, list[object]] = {
        "admin": list(plan.access.admin),
        "registry": list(plan.access.registry),
        "nodes": [one.ipv4 for one in nodes] + [one.ipv6 for one in nodes if one.ipv6],
        "upstreams": [session.neighbor for session in node.upstreams],
        **({"routers": list(places[node.id].routers)} if node.vpc else {}),
    }
    return tuple(
        Group(f"{name}{version}", f"ipv{version}_addr", _elements(addresses, version))
        for name, addresses in members.items()
        for version in (4, 6)
    )


def _elements(addresses: Iterable[object], version: int) -> tuple[str, ...]:
    """Sorted addresses of one family, without repetition, as nft writes them."""
    return tuple(text for _, text in sorted({_key(a) for a in addresses if _version(a) == version}))


def _version(address: object) -> int:
    version: int = address.version  # type: ignore[attr-defined]  # four classes without a base
    return version


def _key(address: object) -> tuple[int, str]:
    first = getattr(address, "network_address", address)
    return int(first), str(address)  # type: ignore[call-overload]


def rules(plan: Plan, node: Node) -> dict[str, list[str]]:
    """The rules of each zone that apply to this node, one line of nftables each. A member may have
    no VPC, and so no routers that speak to it."""
    zones: dict[str, list[str]] = {"uplink": [], "tunnel": [], "announced": []}
    for rule in plan.firewall:
        applies = not rule.roles or set(rule.roles) & set(node.roles)
        if applies and (node.vpc or rule.source != "routers"):
            zones[rule.zone].extend(_lines(rule, plan))
    return zones


def _lines(rule: Rule, plan: Plan) -> list[str]:
    low, high = rule.ports
    ports = str(low) if low == high else f"{low}-{high}"
    match = f"{rule.protocol} dport {ports}"
    comment = f'comment "{rule.name}"'
    if rule.source == "anyone":
        return [f"{match} accept {comment}"]
    if rule.source == "mesh":
        # Link-local for the underlay and its BFD, tunnel addresses for iBGP.
        return [
            f"ip saddr $tunnels4 {match} accept {comment}",
            f"ip6 saddr {{ fe80::/10, $tunnels6 }} {match} accept {comment}",
        ]
    rates = _rate_limits(match) if rule.source == "registry" else []
    return [
        *rates,
        f"ip saddr @{rule.source}4 {match} accept {comment}",
        f"ip6 saddr @{rule.source}6 {match} accept {comment}",
    ]


def _rate_limits(match: str) -> list[str]:
    """The registry may be open to the world, but not to one host's flood."""
    # Whoever has an IPv6 address has a /64 of them, so that is what counts as one host.
    sources = ((4, "ip saddr"), (6, "ip6 saddr & ffff:ffff:ffff:ffff::"))
    return [
        f"{match} ct state new update @registry_rate{version} "
        f"{{ {source} limit rate over 20/second burst 100 packets }} drop"
        for version, source in sources
    ]
