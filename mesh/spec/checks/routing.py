"""What nodes import from upstreams: the keys of ``mesh:routing``, ``mesh:rpki`` and a node's
``import`` together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mesh.spec import capabilities
from mesh.spec.aggregates import aggregates
from mesh.spec.model import Node, Prefixes, Routing
from mesh.spec.problems import Problem
from mesh.spec.section import Sections

SHORTEST = {4: 16, 6: 32}
"""No exchange has a larger peering LAN: a shorter prefix is a typing error, and would refuse a good
part of the Internet."""


def check_imports(sections: Sections) -> Iterator[Problem]:
    """``import`` is set on nodes with an upstream only, and the lists are plausible."""
    routing: Routing | None = sections.get("routing")
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    for node_id, node in nodes.items():
        if node.take is not None and not capabilities.upstreams(node_id, node):
            yield Problem(
                f"mesh:nodes.{node_id}.import", node.take,
                "the node has no upstream session to take anything from",
                "remove it, or give it to a node that announces",
            )  # fmt: skip
    if routing is not None:
        yield from _check_lans(routing, sections.get("prefixes"))
        yield from _check_validators(routing, nodes, sections)


def _check_lans(routing: Routing, prefixes: Prefixes | None) -> Iterator[Problem]:
    own = () if prefixes is None else aggregates(prefixes)
    for number, lan in enumerate(routing.ixp_lans):
        key = f"mesh:routing.ixpLans.{number}"
        if lan.prefixlen < SHORTEST[lan.version]:
            yield Problem(
                key, str(lan), "no peering LAN is as large, and all of it would be refused",
                "give the LAN as PeeringDB lists it, for example 193.0.22.0/24",
            )  # fmt: skip
            continue
        for aggregate in own:
            # overlaps() is False for two families.
            if lan.overlaps(aggregate):
                yield Problem(
                    key, str(lan), f"it overlaps the aggregate {aggregate}",
                    "remove it: what is ours is refused from upstreams anyway",
                )  # fmt: skip


def _check_validators(
    routing: Routing, nodes: Mapping[str, Node], sections: Sections
) -> Iterator[Problem]:
    rpki = sections.get("rpki")
    full = any((node.take or routing.take) == "full" for node in nodes.values())
    if rpki is not None and rpki.servers and not full:
        yield Problem(
            "mesh:rpki.servers", ", ".join(map(str, rpki.servers)),
            "no node takes a full table, so there are no routes to validate",
            "set mesh:routing.import to full, or a node's import; or remove the servers",
            severity="warning",
        )  # fmt: skip
