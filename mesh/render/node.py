"""Plan plus facts in, files out: everything that a node's generation puts on its disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

from mesh.bird.features import Capabilities, capabilities
from mesh.facts import Facts, Placement
from mesh.limits import BIRD_LOG_PORT, MAX_BLACKHOLES
from mesh.plan import (
    Address,
    AddressPair,
    DirectSession,
    Link,
    Node,
    Plan,
    PlannedService,
    ReflectorSession,
    Role,
)
from mesh.plan.firewall import PRIVATE4, RTR
from mesh.plan.links import UNDERLAY_ASN_BASE
from mesh.render import firewall
from mesh.render.files import File, NodeFiles
from mesh.render.mtu import tunnel_mtu
from mesh.render.templates import rendered
from mesh.render.watched import Watched
from mesh.spec.providers import PROVIDERS, Community

REPLIES_TABLE = 27218
"""The kernel's table on a member whose default leads to the nearest edge: any free number."""


def node_files(
    plan: Plan,
    facts: Mapping[str, Facts],
    placements: Mapping[str, Placement] = MappingProxyType({}),
) -> Mapping[str, NodeFiles]:
    """Files and units of every node that has facts; the others are absent from the network.

    A node without a placement is where its own facts say. A node's files are made when they are
    asked for, each time anew: together they grow with the square of the network, and nobody needs
    all of them at once.

    No file holds a secret: session passwords come from :func:`node_secrets`.
    """
    return _Rendered(plan, facts, placements)


def node_secrets(plan: Plan, node_id: str, passwords: Mapping[str, str]) -> tuple[File, ...]:
    """The files of a node that are sealed to its key. ``passwords`` is keyed by provider."""
    node = plan.node(node_id)
    named = [s.password for s in node.upstreams] + [s.password for s in node.vpc]
    names = sorted({name for name in named if name})
    content = rendered("bird/secrets.conf.j2", passwords=[(n, passwords[n]) for n in names])
    return (File("/etc/bird/mesh/secrets.conf", content, 0o640, group="bird"),)


@dataclass(frozen=True, slots=True)
class Template:
    """A file that every node has: where it goes and what it is made from. A ``fixed`` one is made
    from nothing else: the same bytes everywhere, rendered once."""

    path: str
    template: str
    mode: int = 0o644
    group: str = "root"
    fixed: bool = False


# The first value counts to sshd and the last to sysctl: both names sort past those of images.
_UNITS = "/etc/systemd/system"
FILES: tuple[Template, ...] = (
    Template("/etc/bird/bird.conf", "bird/bird.conf.j2", 0o640, "bird"),
    Template("/etc/bird/mesh/out-of-service.conf", "bird/out-of-service.conf.j2", fixed=True),
    Template("/etc/nftables.conf", "network/nftables.conf.j2", 0o755),
    Template("/etc/ssh/sshd_config.d/00-anycast-mesh.conf", "network/sshd.conf.j2", fixed=True),
    Template("/etc/sysctl.d/99-anycast-mesh.conf", "network/sysctl.conf.j2"),
    Template(
        "/etc/systemd/networkd.conf.d/anycast-mesh.conf", "network/networkd.conf.j2", fixed=True
    ),
    Template(f"{_UNITS}/anycast-mesh-dummy.service", "systemd/dummy.service.j2"),
    Template(f"{_UNITS}/anycast-mesh-tunnel@.service", "systemd/tunnel.service.j2", fixed=True),
    Template(f"{_UNITS}/bird.service.d/anycast-mesh.conf", "systemd/bird.conf.j2", fixed=True),
    Template(
        f"{_UNITS}/nftables.service.d/anycast-mesh.conf", "systemd/nftables.conf.j2", fixed=True
    ),
)
"""A new file is one line here and one template."""

REPLIES = Template(f"{_UNITS}/anycast-mesh-replies.service", "systemd/replies.service.j2")
WHOAMI = Template(f"{_UNITS}/anycast-mesh-whoami.service", "systemd/whoami.service.j2", fixed=True)


def _validator(unit: str, template: str) -> Template:
    return Template(f"{_UNITS}/{unit}", f"systemd/{template}.j2", fixed=True)


VALIDATOR: tuple[Template, ...] = (
    _validator("anycast-mesh-validator.service", "validator.service"),
    _validator("anycast-mesh-validator.timer", "validator.timer"),
    Template(f"{_UNITS}/anycast-mesh-rtr.service", "systemd/rtr.service.j2"),
    _validator("anycast-mesh-rtr.timer", "rtr.timer"),
    _validator("rpki-client.service.d/anycast-mesh.conf", "instead.conf"),
    _validator("stayrtr.service.d/anycast-mesh.conf", "instead.conf"),
)


@cache
def _fixed(template: Template) -> File:
    return File(template.path, rendered(template.template), template.mode, template.group)


class _Rendered(Mapping[str, NodeFiles]):
    """The files of each node. What is the same on several is made once, and held once."""

    def __init__(
        self, plan: Plan, facts: Mapping[str, Facts], placements: Mapping[str, Placement]
    ) -> None:
        self._plan, self._facts = plan, facts
        self._nodes = {node.id: node for node in plan.nodes if node.id in facts}
        self._places = {
            n: placements.get(n, Placement(one.ipv4, one.ipv6)) for n, one in facts.items()
        }
        self._birds = {
            version: capabilities(version) for version in {one.bird for one in facts.values()}
        }
        self._shared = {version: _shared(plan, each) for version, each in self._birds.items()}
        self._regions = {region.id: region for region in plan.regions}
        self._exits = _exits(plan)
        self._watched = Watched(plan, facts, self._exits, _links(plan))
        self._network: dict[str, object] = {
            "plan": plan,
            "repliers": _repliers(plan),
            "callers": firewall.callers(plan),
            "replies_table": REPLIES_TABLE,
            "private4": PRIVATE4,
            "v6": plan.prefixes.ipv6 is not None,
            "mtu": _narrowest(plan, facts),
            "max_blackholes": MAX_BLACKHOLES,
            "log_port": BIRD_LOG_PORT,
            "reflectors": len(plan.with_role(Role.REFLECTOR)),
            "rtr_port": RTR,
        }

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __getitem__(self, node_id: str) -> NodeFiles:
        node = self._nodes[node_id]
        links = [self._fitted(node, link) for link in node.links if link.peer in self._facts]
        concerns = _concerns(self._plan, node)
        context = self._network | self._own(node, links, concerns)
        shared = self._shared[self._facts[node_id].bird]
        files = [
            *(self._file(each, context) for each in self._templates(node)),
            *(self._tunnel(node, link) for link in links),
            *(shared[name] for name in concerns),
            self._agent(node),
        ]
        return NodeFiles(
            tuple(sorted(files, key=lambda file: file.path)), tuple(self._units(node, links))
        )

    def _own(self, node: Node, links: list[Link], concerns: Mapping[str, str]) -> dict[str, object]:
        """What templates read of one node, beside what they read of the network."""
        facts, place = self._facts[node.id], self._places[node.id]
        return {
            "node": node,
            "facts": facts,
            "bird": self._birds[facts.bird],
            "concerns": concerns,
            "vpc": list(zip(node.vpc, place.routers, strict=False)),
            "is_member": Role.MEMBER in node.roles,
            "is_registry": Role.REGISTRY in node.roles,
            "exits": self._exits[node.id],
            "region": self._regions[node.region],
            "links": links,
            "ibgp": [each for each in _ibgp(node) if each.session.peer in self._facts],
            "groups": firewall.groups(self._plan, node, self._places),
            "rules": firewall.rules(self._plan, node),
        }

    def _fitted(self, node: Node, link: Link) -> Link:
        mtu = tunnel_mtu(link, (self._facts[node.id].mtu, self._facts[link.peer].mtu))
        return link if mtu == link.mtu else replace(link, mtu=mtu)

    def _validates(self, node: Node) -> bool:
        return self._plan.validates and Role.REFLECTOR in node.roles

    def _templates(self, node: Node) -> Iterator[Template]:
        yield from FILES
        if self._plan.whoami:
            yield WHOAMI
        if Role.MEMBER in node.roles:
            yield REPLIES
        if self._validates(node):
            yield from VALIDATOR

    def _file(self, each: Template, context: Mapping[str, object]) -> File:
        if each.fixed:
            return _fixed(each)
        return File(each.path, rendered(each.template, **context), each.mode, each.group)

    def _agent(self, node: Node) -> File:
        pieces = self._watched.by(node)
        return File("/etc/anycast-mesh/agent.json", "".join(pieces), pieces=pieces)

    def _tunnel(self, node: Node, link: Link) -> File:
        content = rendered(
            "network/wireguard.conf.j2",
            node=node,
            link=link,
            peer=self._facts[link.peer],
            endpoint=self._places[link.peer].ipv4,
        )
        return File(f"/etc/wireguard/{link.interface}.conf", content, 0o600)

    def _units(self, node: Node, links: list[Link]) -> Iterator[str]:
        yield from ("nftables.service", "anycast-mesh-dummy.service")
        yield from (f"anycast-mesh-tunnel@{link.interface}.service" for link in links)
        if Role.MEMBER in node.roles:
            yield "anycast-mesh-replies.service"
        yield "bird.service"
        if self._plan.whoami:
            yield "anycast-mesh-whoami.service"
        if self._validates(node):
            # Timers run whether the packages are there or not: a node may be older than the wish.
            yield from ("anycast-mesh-validator.timer", "anycast-mesh-rtr.timer")


def _narrowest(plan: Plan, facts: Mapping[str, Facts]) -> int:
    """MTU of the narrowest tunnel of the network: a reply may be asked for through any of them."""
    known = (
        tunnel_mtu(link, (facts[end].mtu,))
        for node in plan.nodes
        for link in node.links
        for end in (node.id, link.peer)
        if end in facts
    )
    return min(known, default=1420)


def _shared(plan: Plan, bird: Capabilities) -> dict[str, File]:
    """The parts of BIRD's configuration that are the same on every node with that BIRD."""
    context = {"plan": plan, "bird": bird, "v6": plan.prefixes.ipv6 is not None}
    policy = {
        name: rendered(f"bird/{name}.conf.j2", **context, tags=_tags(plan))
        for name in ("reasons", "lists", "rpki", "import", "export")
    }
    policy |= _interior(plan, bird)
    return {name: File(f"/etc/bird/mesh/{name}.conf", text) for name, text in policy.items()}


@dataclass(frozen=True, slots=True)
class Ibgp:
    """An iBGP session, BIRD's template for it, and what the neighbor is to this node."""

    session: ReflectorSession | DirectSession
    template: str
    role: str


def _ibgp(node: Node) -> Iterator[Ibgp]:
    for each in node.reflectors:
        template, role = ("client", "our client") if each.client else ("reflector", "reflector")
        yield Ibgp(each, template, role)
    for direct in node.direct:
        yield Ibgp(direct, "direct", "direct")


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
    "blackhole": "blackholes (RTBH)",
    "mates": "policy between our own nodes",
    "lists": "bogons: what nobody may announce",
    "rpki": "RPKI validators",
    "import": "import policy for upstreams",
    "export": "export policy for upstreams",
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


def _interior(plan: Plan, bird: Capabilities) -> dict[str, str]:
    """Prefixes and owners, blackholes, and the policy between our own nodes."""
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
    service: PlannedService,
    tunnels: Mapping[str, AddressPair],
    version: int,
    able: set[str] | None = None,
) -> str:
    """Tunnel addresses of the nodes that may serve this, as elements of a set of BIRD's."""
    ids = [node_id for node_id in service.nodes if able is None or node_id in able]
    pairs = [tunnels[node_id] for node_id in ids]
    if version == 4:
        return ", ".join(str(pair.ipv4) for pair in pairs)
    return ", ".join(str(pair.ipv6) for pair in pairs) or "::"
