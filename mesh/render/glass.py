"""What the looking glass knows of the plan (``glass.json``): the same on all nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from mesh.operating_systems import OperatingSystem
from mesh.plan import Glass, Node, Plan, PlannedService, UpstreamSession
from mesh.render import policy
from mesh.render.files import File
from mesh.spec.providers import Community

PATH = "/etc/anycast-mesh/glass.json"


def files(plan: Plan, links: Iterable[tuple[Node, Node, int]]) -> tuple[File, ...]:
    """The looking glass's view of the plan; nothing where there is no looking glass. ``links`` are
    those of :func:`mesh.render.policy.links`."""
    return () if plan.glass is None else (File(PATH, _document(plan, plan.glass, links)),)


def _document(plan: Plan, glass: Glass, links: Iterable[tuple[Node, Node, int]]) -> str:
    """The document of :class:`mesh.glass.network.Network`, on a line for each entry: it has as many
    as the network has nodes and tunnels."""
    document = {
        "aggregates": [
            {"prefix": str(each.prefix), "nodes": each.nodes} for each in plan.aggregates
        ],
        "asn": plan.asn,
        "communities": _communities(plan),
        "links": [{"ends": [one.id, other.id], "cost": cost} for one, other, cost in links],
        "nodes": [_node(node) for node in plan.nodes],
        "port": glass.port,
        "public": glass.public,
        "regions": [
            {"id": each.id, "name": each.name, "location": each.location} for each in plan.regions
        ],
        "services": [_service(each) for each in plan.services],
        "validators": {each.name: str(each.address) for each in plan.rpki},
    }
    return "{\n" + ",\n".join(_entries(document)) + "\n}\n"


def _entries(document: Mapping[str, object]) -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, list) and value:
            lines = ",\n  ".join(map(_json, value))
            yield f"{_json(key)}: [\n  {lines}\n]"
        else:
            yield f"{_json(key)}: {_json(value)}"


def _node(node: Node) -> dict[str, object]:
    return {
        "id": node.id,
        "region": node.region,
        "provider": node.provider,
        "roles": [str(role) for role in node.roles],
        "asn": node.underlay_asn,
        "tunnel": [str(address) for address in node.tunnel.both()],
        "announced": [str(address) for address in node.announced.both()],
        "services": node.services,
        "upstreams": [_upstream(each) for each in node.upstreams],
        **({} if node.os is OperatingSystem.DEBIAN else {"os": str(node.os)}),
    }


def _upstream(session: UpstreamSession) -> dict[str, object]:
    return {
        "name": session.name,
        "family": session.family,
        "asn": session.peer_asn,
        "role": session.role,
        "take": session.imports.take,
        "label": session.label,
    }


def _service(service: PlannedService) -> dict[str, object]:
    return {
        "name": service.name,
        "kind": service.kind,
        "addresses": [str(address) for address in service.addresses.both()],
        "tcp": service.ports.tcp,
        "udp": service.ports.udp,
    }


def _communities(plan: Plan) -> dict[str, str]:
    """Names of communities: what edges' providers mark routes with, and what our rules add."""
    named: dict[Community, str] = {}
    for meanings in policy.tags(plan).values():
        named |= meanings
    steering = (session.steering for node in plan.nodes for session in node.upstreams)
    for tag in chain.from_iterable(each.tags for each in steering):
        named.setdefault(tag.community, tag.meaning)
    return {":".join(map(str, community)): name for community, name in sorted(named.items())}


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
