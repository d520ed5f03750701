"""Plan plus facts in, files out: everything that a node's generation puts on its disk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

from mesh.facts import Facts, Placement
from mesh.limits import BIRD_LOG_PORT, MAX_BLACKHOLES
from mesh.plan import Address, AddressPair, Node, Plan, Role, Service
from mesh.plan.firewall import PRIVATE4, RTR
from mesh.plan.links import UNDERLAY_ASN_BASE
from mesh.render import firewall
from mesh.render.bird import Bird, bird
from mesh.render.files import File, NodeFiles
from mesh.render.templates import rendered
from mesh.spec.providers import PROVIDERS, Community

REPLIES_TABLE = 27218
"""The kernel's table on a member whose default leads to the nearest edge: any free number."""


def node_files(
    plan: Plan,
    facts: Mapping[str, Facts],
    placements: Mapping[str, Placement] = MappingProxyType({}),
) -> dict[str, NodeFiles]:
    """Files and units of every node that has facts; the others are absent from the network.

    A node without a placement is where its own facts say.

    No file holds a secret: session passwords come from :func:`node_secrets`.
    """
    birds = {node_id: bird(one.bird) for node_id, one in facts.items()}
    shared = {each: _shared(plan, each) for each in set(birds.values())}
    mtu = min((link.mtu for node in plan.nodes for link in node.links), default=1420)
    regions = {region.id: region for region in plan.regions}
    services = {service.name: service for service in plan.services}
    tunnels = {node.id: node.tunnel for node in plan.nodes}
    repliers, exits = _repliers(plan), _exits(plan)
    reflectors = len(plan.with_role(Role.REFLECTOR))
    underlay = _underlay(plan, exits)
    places = {n: placements.get(n, Placement(one.ipv4, one.ipv6)) for n, one in facts.items()}
    done: dict[str, NodeFiles] = {}
    for node in plan.nodes:
        if node.id in facts:
            concerns = _concerns(plan, node)
            context = {
                "plan": plan,
                "node": node,
                "facts": facts[node.id],
                "bird": birds[node.id],
                "concerns": concerns,
                "vpc": list(zip(node.vpc, places[node.id].routers, strict=False)),
                "is_member": Role.MEMBER in node.roles,
                "exits": exits[node.id],
                "repliers": repliers,
                "replies_table": REPLIES_TABLE,
                "private4": PRIVATE4,
                "region": regions[node.region],
                "v6": plan.prefixes.ipv6 is not None,
                "mtu": mtu,
                "max_blackholes": MAX_BLACKHOLES,
                "log_port": BIRD_LOG_PORT,
                "reflectors": reflectors,
            }
            files = _files(plan, node, facts, services, tunnels, places, context, underlay)
            conf = [shared[birds[node.id]][name] for name in concerns]
            done[node.id] = replace(files, files=_sorted((*files.files, *conf)))
    return done


def node_secrets(plan: Plan, node_id: str, passwords: Mapping[str, str]) -> tuple[File, ...]:
    """The files of a node that are sealed to its key. ``passwords`` is keyed by provider."""
    node = plan.node(node_id)
    named = [s.password for s in node.upstreams] + [s.password for s in node.vpc]
    names = sorted({name for name in named if name})
    content = rendered("bird/secrets.conf.j2", passwords=[(n, passwords[n]) for n in names])
    return (File("/etc/bird/mesh/secrets.conf", content, 0o640, group="bird"),)


@dataclass(frozen=True, slots=True)
class Template:
    """A file that every node has: where it goes and what it is made from."""

    path: str
    template: str
    mode: int = 0o644
    group: str = "root"


# The first value counts to sshd and the last to sysctl: both names sort past those of images.
FILES: tuple[Template, ...] = (
    Template("/etc/bird/bird.conf", "bird/bird.conf.j2", 0o640, "bird"),
    Template("/etc/bird/mesh/out-of-service.conf", "bird/out-of-service.conf.j2"),
    Template("/etc/nftables.conf", "network/nftables.conf.j2", 0o755),
    Template("/etc/ssh/sshd_config.d/00-anycast-mesh.conf", "network/sshd.conf.j2"),
    Template("/etc/sysctl.d/99-anycast-mesh.conf", "network/sysctl.conf.j2"),
    Template("/etc/systemd/networkd.conf.d/anycast-mesh.conf", "network/networkd.conf.j2"),
    Template("/etc/systemd/system/anycast-mesh-dummy.service", "systemd/dummy.service.j2"),
    Template("/etc/systemd/system/anycast-mesh-tunnel@.service", "systemd/tunnel.service.j2"),
    Template("/etc/systemd/system/bird.service.d/anycast-mesh.conf", "systemd/bird.conf.j2"),
    Template(
        "/etc/systemd/system/nftables.service.d/anycast-mesh.conf", "systemd/nftables.conf.j2"
    ),
)
"""A new file is one line here and one template."""

REPLIES = Template("/etc/systemd/system/anycast-mesh-replies.service", "systemd/replies.service.j2")
WHOAMI = Template("/etc/systemd/system/anycast-mesh-whoami.service", "systemd/whoami.service.j2")


_UNITS = "/etc/systemd/system"
VALIDATOR: tuple[Template, ...] = (
    Template(f"{_UNITS}/anycast-mesh-validator.service", "systemd/validator.service.j2"),
    Template(f"{_UNITS}/anycast-mesh-validator.timer", "systemd/validator.timer.j2"),
    Template(f"{_UNITS}/anycast-mesh-rtr.service", "systemd/rtr.service.j2"),
    Template(f"{_UNITS}/anycast-mesh-rtr.timer", "systemd/rtr.timer.j2"),
    Template(f"{_UNITS}/rpki-client.service.d/anycast-mesh.conf", "systemd/instead.conf.j2"),
    Template(f"{_UNITS}/stayrtr.service.d/anycast-mesh.conf", "systemd/instead.conf.j2"),
)


def _files(
    plan: Plan,
    node: Node,
    facts: Mapping[str, Facts],
    services: Mapping[str, Service],
    tunnels: Mapping[str, AddressPair],
    places: Mapping[str, Placement],
    context: dict[str, object],
    underlay: Mapping[str, object],
) -> NodeFiles:
    links = [link for link in node.links if link.peer in facts]
    context |= {
        "links": links,
        "mates": [session for session in node.reflectors if session.peer in facts],
        "groups": firewall.groups(plan, node, places),
        "rules": firewall.rules(plan, node),
        "rtr_port": RTR,
    }
    is_member = Role.MEMBER in node.roles
    validates = plan.validates and Role.REFLECTOR in node.roles
    templates = [*FILES, *([WHOAMI] if plan.whoami else []), *([REPLIES] if is_member else [])]
    templates += VALIDATOR if validates else ()
    files = [
        File(each.path, rendered(each.template, **context), each.mode, each.group)
        for each in templates
    ]
    files += [
        File(
            f"/etc/wireguard/{link.interface}.conf",
            rendered(
                "network/wireguard.conf.j2",
                node=node,
                link=link,
                peer=facts[link.peer],
                endpoint=places[link.peer].ipv4,
            ),
            0o600,
        )
        for link in links
    ]
    watched = _agent(plan, node, services, facts, tunnels, underlay)
    files.append(File("/etc/anycast-mesh/agent.json", watched))
    units = ["nftables.service", "anycast-mesh-dummy.service"]
    units += [f"anycast-mesh-tunnel@{link.interface}.service" for link in links]
    units += ["anycast-mesh-replies.service"] * is_member
    units += ["bird.service"] + ["anycast-mesh-whoami.service"] * plan.whoami
    # Timers run whether the packages are there or not: a node may be older than the wish.
    units += ["anycast-mesh-validator.timer", "anycast-mesh-rtr.timer"] * validates
    return NodeFiles(tuple(files), tuple(units))


def _sorted(files: Iterable[File]) -> tuple[File, ...]:
    return tuple(sorted(files, key=lambda file: file.path))


def _shared(plan: Plan, bird: Bird) -> dict[str, File]:
    """The parts of BIRD's configuration that are the same on every node with that BIRD."""
    context = {"plan": plan, "bird": bird, "v6": plan.prefixes.ipv6 is not None}
    policy = {
        name: rendered(f"bird/{name}.conf.j2", **context, tags=_tags(plan))
        for name in ("reasons", "lists", "rpki", "import", "export")
    }
    policy |= _interior(plan, bird)
    return {name: File(f"/etc/bird/mesh/{name}.conf", text) for name, text in policy.items()}


def _tags(plan: Plan) -> dict[str, Mapping[Community, str]]:
    """What the edges' providers mark routes with, by provider."""
    known = {node.provider: PROVIDERS.get(node.provider) for node in plan.nodes if node.upstreams}
    return {
        name: provider.communities.tags
        for name, provider in sorted(known.items())
        if provider is not None and provider.communities is not None
    }


CONCERNS: dict[str, str] = {
    "network": "prefixes, owners",
    "reasons": "why a route is refused",
    "blackhole": "what is discarded",
    "mates": "what mates may say",
    "lists": "what nobody may announce",
    "rpki": "validators",
    "import": "what upstreams may say",
    "export": "what upstreams may hear",
}
"""The parts of BIRD's configuration, in the order in which each knows what it needs."""


def _concerns(plan: Plan, node: Node) -> dict[str, str]:
    """Those of them that a node includes: by what it has a session with."""
    left_out: set[str] = set()
    if not node.upstreams and not node.vpc:
        left_out.add("export")
    if all(session.imports.take == "none" for session in node.upstreams):
        left_out |= {"lists", "rpki", "import"}
    if not plan.rpki:
        left_out.add("rpki")
    return {name: what for name, what in CONCERNS.items() if name not in left_out}


def _interior(plan: Plan, bird: Bird) -> dict[str, str]:
    """Prefixes and owners, orders, and what mates may say."""
    tunnels = {node.id: node.tunnel for node in plan.nodes}
    able6 = {node.id for node in plan.nodes if node.ipv6}
    context = {
        "plan": plan,
        "bird": bird,
        "v6": plan.prefixes.ipv6 is not None,
        "exits": _exits(plan),
        "asn_base": UNDERLAY_ASN_BASE,
        "plan_links": _links(plan),
        "service_set4": ", ".join(f"{s.addresses.ipv4}/32" for s in plan.services) or "0.0.0.0/32",
        "service_set6": ", ".join(
            f"{s.addresses.ipv6}/128" for s in plan.services if s.addresses.ipv6
        )
        or "::/128",
        "servers4": {s.name: _next_hops(s, tunnels, 4) for s in plan.services},
        "servers6": {s.name: _next_hops(s, tunnels, 6, able6) for s in plan.services},
    }
    names = ("network", "blackhole", "mates")
    return {name: rendered(f"bird/{name}.conf.j2", **context) for name in names}


def _links(plan: Plan) -> list[tuple[Node, Node, int]]:
    """Every link of the plan once, with its cost; the end with the smaller tunnel number first."""
    nodes = {node.id: node for node in plan.nodes}
    ends = [(node, nodes[link.peer], link.cost) for node in plan.nodes for link in node.links]
    once = [end for end in ends if end[0].number < end[1].number]
    return sorted(once, key=lambda end: (end[0].number, end[1].number))


def _repliers(plan: Plan) -> dict[int, list[Address]]:
    """What members answer as, by IP version: their own announced addresses, and those of the
    services that they may serve."""
    members = plan.with_role(Role.MEMBER)
    served = {name for node in members for name in node.services}
    pairs = [node.announced for node in members]
    pairs += [service.addresses for service in plan.services if service.name in served]
    found = [address for pair in pairs for address in pair.both()]
    return {v: sorted((a for a in found if a.version == v), key=int) for v in (4, 6)}


def _exits(plan: Plan) -> dict[str, tuple[Address, ...]]:
    """The exit's addresses that each node holds where there are members: of the families of its
    upstream, since replies of another family would not get out there."""
    if not plan.with_role(Role.MEMBER):
        return {node.id: () for node in plan.nodes}
    families = {node.id: {session.family for session in node.upstreams} for node in plan.nodes}
    return {
        node_id: tuple(exit for exit in plan.exits.both() if f"ipv{exit.version}" in own)
        for node_id, own in families.items()
    }


def _next_hops(
    service: Service, tunnels: Mapping[str, AddressPair], version: int, able: set[str] | None = None
) -> str:
    """Tunnel addresses of the nodes that may serve this, as elements of a set of BIRD's."""
    ids = [node_id for node_id in service.nodes if able is None or node_id in able]
    pairs = [tunnels[node_id] for node_id in ids]
    if version == 4:
        return ", ".join(str(pair.ipv4) for pair in pairs)
    return ", ".join(str(pair.ipv6) for pair in pairs) or "::"


def _underlay(plan: Plan, exits: Mapping[str, tuple[Address, ...]]) -> dict[str, object]:
    """What the agents hold their mates' words against: who owns what, and every link's cost. The
    same for all of them."""
    return {
        "nodes": [
            {
                "id": node.id,
                "asn": node.underlay_asn,
                "addresses": [
                    str(address)
                    for address in (*node.tunnel.both(), *node.announced.both(), *exits[node.id])
                ],
            }
            for node in plan.nodes
        ],
        "links": [{"ends": [one.id, other.id], "cost": cost} for one, other, cost in _links(plan)],
    }


def _agent(
    plan: Plan,
    node: Node,
    services: Mapping[str, Service],
    facts: Mapping[str, Facts],
    tunnels: Mapping[str, AddressPair],
    underlay: Mapping[str, object],
) -> str:
    """What the agent has to watch, as JSON with sorted keys. ``mates`` are at the far ends of its
    tunnels: a node that reaches none of them is alone."""
    document = {
        "node": node.id,
        "region": node.region,
        "interface": "dummy0",
        "aggregates": [str(prefix) for prefix in plan.prefixes.both()],
        "mates": [str(tunnels[link.peer].ipv4) for link in node.links if link.peer in facts],
        "services": [
            {
                "name": service.name,
                "addresses": [
                    str(address)
                    for address in service.addresses.both()
                    if address.version == 4 or node.ipv6
                ],
                "ports": asdict(service.ports),
                "checks": [asdict(check) for check in service.checks],
                "local": node.id in service.nodes,
            }
            for service in services.values()
        ],
        "whoami": plan.whoami,
        "underlay": underlay,
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
