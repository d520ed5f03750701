"""BIRD's routing policy: prefixes and owners, blackholes, and the import and export policy between
our own nodes and towards upstreams."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mesh.bird.features import Capabilities
from mesh.plan import (
    Address,
    AddressPair,
    DirectSession,
    Network,
    Node,
    Plan,
    PlannedService,
    ReflectorSession,
    Role,
)
from mesh.plan.links import UNDERLAY_ASN_BASE
from mesh.render.files import File
from mesh.render.systems.system import Names
from mesh.render.templates import rendered
from mesh.spec.providers import PROVIDERS, Community


@dataclass(frozen=True, slots=True)
class Ibgp:
    """An iBGP session, BIRD's template for it, and what the neighbor is to this node."""

    session: ReflectorSession | DirectSession
    template: str
    role: str


def ibgp(node: Node) -> Iterator[Ibgp]:
    """The iBGP sessions of a node."""
    for each in node.reflectors:
        template, role = ("client", "our client") if each.client else ("reflector", "reflector")
        yield Ibgp(each, template, role)
    for direct in node.direct:
        yield Ibgp(direct, "direct", "direct")


def files(plan: Plan, bird: Capabilities, system: Names) -> dict[str, File]:
    """The parts of BIRD's configuration that are the same on every node with that BIRD and that
    operating system."""
    context = {"plan": plan, "bird": bird, "system": system, **families(plan)}
    policy = {
        name: rendered(f"bird/{name}.conf.j2", **context, tags=tags(plan))
        for name in ("reasons", "lists", "rpki", "import", "export")
    }
    policy |= _interior(plan, bird, system)
    return {
        name: File(f"/etc/bird/mesh/{name}.conf", text, group=system.group)
        for name, text in policy.items()
    }


def families(plan: Plan) -> dict[str, object]:
    """The families of the aggregates, and these by their family, as templates ask for them."""
    owned = by_version(plan.owned)
    found = tuple(version for version in (4, 6) if owned[version])
    return {
        "families": found,
        "v4": 4 in found,
        "v6": 6 in found,
        "owned": owned,
        "apart": plan.announces_apart,
    }


def tags(plan: Plan) -> dict[str, Mapping[Community, str]]:
    """The informational communities of the edges' providers, by provider."""
    known = {node.provider: PROVIDERS.get(node.provider) for node in plan.nodes if node.upstreams}
    return {
        name: provider.communities.tags
        for name, provider in sorted(known.items())
        if provider is not None and provider.communities is not None
    }


CONCERNS: dict[str, str] = {
    "network": "prefixes, owners",
    "reasons": "why a route is refused",
    "blackhole": "blackholes (RTBH)",
    "mates": "policy between our own nodes",
    "lists": "bogons: what nobody may announce",
    "rpki": "RPKI validators",
    "import": "import policy for upstreams",
    "export": "export policy for upstreams",
}
"""The parts of BIRD's configuration, in an order in which each needs only earlier ones."""


def concerns(plan: Plan, node: Node) -> dict[str, str]:
    """The parts that a node includes, by its sessions."""
    left_out: set[str] = set()
    if not node.upstreams and not node.vpc:
        left_out.add("export")
    if all(session.imports.take == "none" for session in node.upstreams):
        left_out |= {"lists", "rpki", "import"}
    if not plan.rpki:
        left_out.add("rpki")
    return {name: what for name, what in CONCERNS.items() if name not in left_out}


def _interior(plan: Plan, bird: Capabilities, system: Names) -> dict[str, str]:
    """Prefixes and owners, blackholes, and the policy between our own nodes."""
    tunnels = {node.id: node.tunnel for node in plan.nodes}
    able6 = {node.id for node in plan.nodes if node.ipv6}
    context = {
        "plan": plan,
        "bird": bird,
        "system": system,
        **families(plan),
        "aggregates": by_version(each.prefix for each in plan.aggregates),
        "exits": exits(plan),
        "asn_base": UNDERLAY_ASN_BASE,
        "plan_links": links(plan),
        "service_set4": _services(plan, 4) or "0.0.0.0/32",
        "service_set6": _services(plan, 6) or "::/128",
        "servers4": {s.name: _next_hops(s, tunnels, 4) for s in plan.services},
        "servers6": {s.name: _next_hops(s, tunnels, 6, able6) for s in plan.services},
    }
    names = ("network", "blackhole", "mates")
    return {name: rendered(f"bird/{name}.conf.j2", **context) for name in names}


def links(plan: Plan) -> list[tuple[Node, Node, int]]:
    """Every link of the plan once, with its cost; the end with the smaller tunnel number first."""
    nodes = {node.id: node for node in plan.nodes}
    ends = [(node, nodes[link.peer], link.cost) for node in plan.nodes for link in node.links]
    once = [end for end in ends if end[0].number < end[1].number]
    return sorted(once, key=lambda end: (end[0].number, end[1].number))


def exits(plan: Plan) -> dict[str, tuple[Address, ...]]:
    """The exit addresses of each node: where there are members, that of all edges, of the families
    of its upstream, since replies of another family could not leave there; and those of aggregates
    that only some edges announce, where it is one of these, also such as replies take later."""
    found: dict[str, tuple[Address, ...]] = {}
    for node in plan.nodes:
        families = {session.family for session in node.upstreams}
        own = {exit for exit in plan.exits.both() if f"ipv{exit.version}" in families}
        if not plan.with_role(Role.MEMBER):
            own = set()
        own |= {each.exit for each in plan.aggregates if each.exit and node.id in each.nodes}
        own |= set(node.later_exits)
        found[node.id] = tuple(sorted(own, key=lambda exit: (exit.version, -int(exit))))
    return found


def by_version(prefixes: Iterable[Network]) -> dict[int, list[Network]]:
    """Prefixes by IP version, each in their order."""
    every = list(prefixes)
    return {version: [each for each in every if each.version == version] for version in (4, 6)}


def _services(plan: Plan, version: int) -> str:
    """The services' addresses of one family, as elements of a BIRD set."""
    found = (each for service in plan.services for each in service.addresses.both())
    return ", ".join(f"{each}/{each.max_prefixlen}" for each in found if each.version == version)


def _next_hops(
    service: PlannedService,
    tunnels: Mapping[str, AddressPair],
    version: int,
    able: set[str] | None = None,
) -> str:
    """Tunnel addresses of the nodes that may serve this, as elements of a BIRD set."""
    ids = [node_id for node_id in service.nodes if able is None or node_id in able]
    pairs = [tunnels[node_id] for node_id in ids]
    if version == 4:
        return ", ".join(str(pair.ipv4) for pair in pairs)
    return ", ".join(str(pair.ipv6) for pair in pairs) or "::"
