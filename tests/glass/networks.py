"""What a glass knows of the plan of a test."""

from __future__ import annotations

from mesh.glass.network import Aggregate, Link, Network, Node, Region, Service, Upstream
from mesh.plan import Plan
from mesh.plan.model import Node as PlannedNode


def network_of(plan: Plan, *, public: bool = False, port: int = 8080) -> Network:
    """The network of a plan, as its glass.json has it."""
    return Network(
        asn=plan.asn,
        port=port,
        public=public,
        regions=tuple(Region(each.id, each.name, each.location) for each in plan.regions),
        nodes=tuple(map(_node, plan.nodes)),
        links=tuple(
            Link((node.id, link.peer), link.cost)
            for node in plan.nodes
            for link in node.links
            if node.id < link.peer
        ),
        services=tuple(
            Service(each.name, each.kind, tuple(each.addresses.both())) for each in plan.services
        ),
        aggregates=tuple(Aggregate(each.prefix, each.nodes) for each in plan.aggregates),
        communities={"20473:300": "Vultr: private peer"},
        validators={each.name: str(each.address) for each in plan.rpki},
    )


def _node(node: PlannedNode) -> Node:
    return Node(
        id=node.id,
        region=node.region,
        provider=node.provider,
        roles=tuple(map(str, node.roles)),
        asn=node.underlay_asn,
        tunnel=tuple(node.tunnel.both()),
        announced=tuple(node.announced.both()),
        services=node.services,
        upstreams=tuple(
            Upstream(each.name, each.family, each.peer_asn, each.role, each.imports.take)
            for each in node.upstreams
        ),
        os=node.os,
    )
