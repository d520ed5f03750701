"""All files of a node's generation, from the plan and the nodes' facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from mesh.bird.features import capabilities
from mesh.facts import Facts, Placement
from mesh.limits import BIRD_LOG_PORT, MAX_BLACKHOLES
from mesh.plan import Link, Node, Plan, Role
from mesh.plan.firewall import PRIVATE4
from mesh.render import firewall, glass, monitors, policy, replies, services
from mesh.render.files import File, NodeFiles
from mesh.render.mtu import tunnel_mtu
from mesh.render.systems import SYSTEMS, Template, fixed, system_of
from mesh.render.templates import environment, rendered
from mesh.render.watched import Watched
from mesh.spec.ports import ALERTMANAGER, ALERTMANAGERS, PROMETHEUS, RTR


def load_templates(plan: Plan) -> None:
    """Compiles the templates of a plan's nodes ahead: that takes longer than to render them."""
    loaded = environment()
    own = {each.template for node in plan.nodes for each in system_of(node).templates(plan, node)}
    parts = loaded.list_templates(filter_func=lambda name: name.startswith("bird/"))
    for template in sorted(own.union(parts)):
        loaded.get_template(template)


def node_files(
    plan: Plan,
    facts: Mapping[str, Facts],
    placements: Mapping[str, Placement] = MappingProxyType({}),
) -> Mapping[str, NodeFiles]:
    """Files and units of every node that has facts; the others are left out of the network.

    Without a placement a node has the addresses of its own facts. A node's files are rendered at
    each access, since all of them together grow with the square of the number of nodes.

    No file holds a secret: session passwords come from :func:`node_secrets`.
    """
    return _Rendered(plan, facts, placements)


def node_secrets(
    plan: Plan,
    node_id: str,
    passwords: Mapping[str, str],
    receivers: Mapping[str, str] = MappingProxyType({}),
) -> tuple[File, ...]:
    """The files of a node that are sealed to its key: ``passwords`` by their names, and what
    receivers of alerts keep to themselves by theirs."""
    node = plan.node(node_id)
    named = [s.password for s in node.upstreams] + [s.password for s in node.vpc]
    names = sorted({name for name in named if name})
    content = rendered("bird/secrets.conf.j2", passwords=[(n, passwords[n]) for n in names])
    return (
        File("/etc/bird/mesh/secrets.conf", content, 0o640, system_of(node).names.bird_group),
        *monitors.secrets(plan, node, receivers),
    )


class _Rendered(Mapping[str, NodeFiles]):
    """The files of each node. Content that several nodes share is rendered and stored once."""

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
        self._shared = {
            (version, os): policy.files(plan, self._birds[version], SYSTEMS[os].names)
            for version, os in {(facts[node.id].bird, node.os) for node in self._nodes.values()}
        }
        self._regions = {region.id: region for region in plan.regions}
        self._announced = plan.announced()
        self._exits = policy.exits(plan)
        self._sources = replies.sources(plan)
        links = policy.links(plan)
        self._watched = Watched(plan, facts, self._exits, links)
        self._glass = glass.files(plan, links)
        self._common: dict[File, File] = {}
        self._network: dict[str, object] = {
            "plan": plan,
            "callers": firewall.callers(plan),
            "private4": PRIVATE4,
            **policy.families(plan),
            "mtu": _narrowest(plan, facts),
            "max_blackholes": MAX_BLACKHOLES,
            "log_port": BIRD_LOG_PORT,
            "reflectors": len(plan.with_role(Role.REFLECTOR)),
            "rtr_port": RTR,
            "service_versions": services.versions(plan),
            "prometheus_port": PROMETHEUS,
            "alertmanager_port": ALERTMANAGER,
            "cluster_port": ALERTMANAGERS,
        }

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes)

    def __getitem__(self, node_id: str) -> NodeFiles:
        node = self._nodes[node_id]
        links = [self._fitted(node, link) for link in node.links if link.peer in self._facts]
        concerns = policy.concerns(self._plan, node)
        context = self._network | self._own(node, links, concerns)
        system = system_of(node)
        shared = self._shared[self._facts[node_id].bird, node.os]
        files = [
            *(self._file(each, context) for each in system.templates(self._plan, node)),
            *(
                system.tunnel(node, link, self._facts[link.peer], self._places[link.peer].ipv4)
                for link in links
            ),
            *(shared[name] for name in concerns),
            *system.further(self._plan, node, self._nodes.values()),
            self._agent(node),
            *(self._glass if node.os.has_glass else ()),
        ]
        return NodeFiles(
            tuple(sorted(files, key=lambda file: file.path)),
            tuple(system.units(self._plan, node, links)),
        )

    def _own(self, node: Node, links: list[Link], concerns: Mapping[str, str]) -> dict[str, object]:
        """The template variables of one node, beside those of the network."""
        facts, place = self._facts[node.id], self._places[node.id]
        here = policy.by_version(self._announced.get(node.id, ()))
        parts = [each.prefix for each in self._plan.aggregates if each.covering is not None]
        vpc = list(zip(node.vpc, place.routers, strict=False))
        return {
            "here": here,
            "announced_here": (*here[4], *here[6]),
            "discards": policy.by_version(
                [*self._plan.owned, *(part for part in parts if part in here[part.version])]
            ),
            "most": {version: max(1, len(prefixes)) for version, prefixes in here.items()},
            "replies": replies.tables(self._plan, node),
            "reply_rules": [
                (each.version, each.priority, each.text)
                for each in replies.rules(self._plan, node, bool(vpc))
            ],
            "cleared_rules": replies.cleared(self._plan, node, bool(vpc)),
            "repliers": {
                version: [
                    address for prefix in prefixes for address in self._sources.get(prefix, ())
                ]
                for version, prefixes in here.items()
            },
            "answers": services.answers(self._plan, node),
            "node": node,
            "system": system_of(node).names,
            "services_table": system_of(node).names.services_table,
            "facts": facts,
            "bird": self._birds[facts.bird],
            "concerns": concerns,
            "vpc": vpc,
            "bfd_uplinks": sorted(
                {
                    session.interface or facts.uplink
                    for session in node.upstreams
                    if session.bfd and session.multihop is None
                }
            ),
            "is_member": Role.MEMBER in node.roles,
            "peers": monitors.peers(self._plan, node),
            "forwarded": _forwarded(self._plan, node),
            "is_registry": Role.REGISTRY in node.roles,
            "exits": self._exits[node.id],
            "region": self._regions[node.region],
            "links": links,
            "ibgp": [each for each in policy.ibgp(node) if each.session.peer in self._facts],
            "groups": firewall.groups(self._plan, node, self._places),
            "rules": system_of(node).rules(self._plan, node),
            "former_ports": firewall.former_ports(links, self._places),
        }

    def _fitted(self, node: Node, link: Link) -> Link:
        mtu = tunnel_mtu(link, (self._facts[node.id].mtu, self._facts[link.peer].mtu))
        return link if mtu == link.mtu else replace(link, mtu=mtu)

    def _file(self, each: Template, context: Mapping[str, object]) -> File:
        if each.fixed:
            return fixed(each)
        file = File(each.path, rendered(each.template, **context), each.mode, each.group)
        return self._common.setdefault(file, file) if each.shared else file

    def _agent(self, node: Node) -> File:
        pieces = self._watched.by(node)
        group = system_of(node).names.group
        return File("/etc/anycast-mesh/agent.json", "".join(pieces), group=group, pieces=pieces)


def _forwarded(plan: Plan, node: Node) -> tuple[int, ...]:
    """The ports of a node itself that the operator may reach through SSH."""
    glass = () if plan.glass is None else (plan.glass.port,)
    return (*glass, *((PROMETHEUS, ALERTMANAGER) if monitors.does(plan, node) else ()))


def _narrowest(plan: Plan, facts: Mapping[str, Facts]) -> int:
    """The smallest MTU of all tunnels, since a request may arrive through any of them."""
    known = (
        tunnel_mtu(link, (facts[end].mtu,))
        for node in plan.nodes
        for link in node.links
        for end in (node.id, link.peer)
        if end in facts
    )
    return min(known, default=1420)
