"""The agent's configuration (``agent.json``), as JSON with sorted keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from mesh.facts import Facts
from mesh.plan import Address, Network, Node, Plan, PlannedService
from mesh.render.kinds import whoami_at
from mesh.render.services import addresses
from mesh.render.systems import system_of


class Watched:
    """The documents of all agents.

    In a large network most of each is the plan of the underlay, by which agents audit their peers'
    routes: the owners of addresses, and every link's cost. It is the same for all nodes and written
    once; the services are written once for each set that a node has.
    """

    def __init__(
        self,
        plan: Plan,
        facts: Mapping[str, Facts],
        exits: Mapping[str, tuple[Address, ...]],
        links: Iterable[tuple[Node, Node, int]],
    ) -> None:
        self._plan, self._facts = plan, facts
        self._mates = {node.id: str(node.tunnel.ipv4) for node in plan.nodes}
        self._announced = plan.announced()
        self._aggregates = [str(prefix) for prefix in plan.owned]
        self._served_in = _served_in(plan) if plan.announces_apart else {}
        self._underlay = _inner(_underlay(plan, exits, links))
        self._services: dict[tuple[bool, tuple[str, ...]], str] = {}

    def by(self, node: Node) -> tuple[str, ...]:
        """A node's document in pieces; pieces of several nodes are the same objects. ``mates`` are
        its peers' tunnel addresses: a node that reaches none of them is isolated."""
        links = [link for link in node.links if link.peer in self._facts]
        document: dict[str, object] = {
            "node": node.id,
            "region": node.region,
            "interface": system_of(node).names.interface,
            "aggregates": self._aggregates,
            "mates": [self._mates[link.peer] for link in links],
            "services": None,
            "whoami": self._plan.whoami,
            "underlay": None,
            "upstreams": [{"name": each.name, "family": each.family} for each in node.upstreams],
            "tunnels": [link.interface for link in links],
            "linger": self._plan.linger,
        }
        if self._plan.announces_apart:
            document["announced"] = [
                {"prefix": str(prefix), "services": self._served_in[prefix]}
                for prefix in self._announced.get(node.id, ())
            ]
        answering = whoami_at(self._plan, node)
        if self._plan.whoami and answering is not None:
            document["whoami_at"] = [str(address) for address in answering]
        before, services, rest = _json(document).partition('"services": null')
        between, underlay, after = rest.partition('"underlay": null')
        assert services and underlay
        return (
            f'{before}"services": ',
            self._served(node),
            f'{between}"underlay": ',
            self._underlay,
            f"{after}\n",
        )

    def _served(self, node: Node) -> str:
        key = (node.ipv6, node.services)
        if key not in self._services:
            self._services[key] = _inner([_service(each, node) for each in self._plan.services])
        return self._services[key]


def _served_in(plan: Plan) -> dict[Network, dict[str, list[str]]]:
    """By prefix, the services with addresses in it and in no more-specific of it."""
    found: dict[Network, dict[str, list[str]]] = {each.prefix: {} for each in plan.aggregates}
    for service in plan.services:
        for address in service.addresses.both():
            holding = [
                prefix
                for prefix in found
                if prefix.version == address.version and address in prefix
            ]
            longest = max(holding, key=lambda prefix: prefix.prefixlen)
            found[longest].setdefault(service.name, []).append(str(address))
    return found


def _service(service: PlannedService, node: Node) -> dict[str, object]:
    """What the agent has to know of a service; keys that an earlier version does not know are
    written only where they say something."""
    content = None if service.content is None else service.content.sha256
    further = {"kind": service.kind, "unit": service.unit, "content": content}
    return {
        "name": service.name,
        "addresses": [str(address) for address in addresses(service, node)],
        "ports": asdict(service.ports),
        "checks": [check.written() for check in service.checks],
        "local": service.name in node.services,
        **{key: value for key, value in further.items() if value is not None},
    }


def _underlay(
    plan: Plan, exits: Mapping[str, tuple[Address, ...]], links: Iterable[tuple[Node, Node, int]]
) -> dict[str, object]:
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
        "links": [{"ends": [one.id, other.id], "cost": cost} for one, other, cost in links],
    }


def _json(document: object) -> str:
    return json.dumps(document, indent=2, sort_keys=True)


def _inner(value: object) -> str:
    """A value at the first level of a document."""
    return _json(value).replace("\n", "\n  ")
