"""The stack's outputs: names and shapes that users and scripts rely on. None is secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pulumi import Input, Output

from mesh.infra.node import Node
from mesh.plan import AddressPair, Plan, PrefixPair
from mesh.plan import Node as PlannedNode


def topology(
    plan: Plan, nodes: Mapping[str, Node], registries: Sequence[Input[str]]
) -> dict[str, Any]:
    """The network as planned, with the public addresses that the providers gave."""
    return {
        "asn": plan.asn,
        "prefixes": _pair(plan.prefixes),
        "announcements": [
            {"prefix": str(each.prefix), "nodes": list(each.nodes)} for each in plan.aggregates
        ],
        "nodes": {node.id: _node(plan, node, nodes[node.id]) for node in plan.nodes},
        "services": {
            service.name: {
                "addresses": _pair(service.addresses),
                "more_addresses": [str(each) for each in service.addresses.more],
                "ports": {"tcp": list(service.ports.tcp), "udp": list(service.ports.udp)},
            }
            for service in plan.services
        },
        "registries": list(registries),
    }


def access(nodes: Mapping[str, Node]) -> dict[str, Mapping[str, Input[str]]]:
    """How to reach each node."""
    return {node_id: node.access() for node_id, node in nodes.items()}


def glass(
    plan: Plan, access: Mapping[str, Mapping[str, Input[str]]]
) -> dict[str, Mapping[str, Input[str]]]:
    """How to read the looking glass of each node that runs one: while the command under ``ssh``
    runs, it is at ``url`` on the operator's own machine. Empty where there is no looking glass."""
    if plan.glass is None:
        return {}
    return {node.id: _glass(plan.glass.port, access[node.id]) for node in plan.with_glass()}


def _glass(port: int, access: Mapping[str, Input[str]]) -> dict[str, Input[str]]:
    """Of one node. A container of the lab is reached by its shell as well."""
    forwarded = f"ssh -N -L '{port}:[::1]:{port}' "
    found: dict[str, Input[str]] = {
        "url": f"http://localhost:{port}/",
        "ssh": Output.from_input(access["ssh"]).apply(
            lambda ssh: forwarded + ssh.removeprefix("ssh ")
        ),
    }
    if "shell" in access:
        found["shell"] = Output.from_input(access["shell"]).apply(
            lambda shell: f"{shell.removesuffix('bash')}curl -s http://localhost:{port}/"
        )
    return found


def _node(plan: Plan, node: PlannedNode, made: Node) -> dict[str, Any]:
    return {
        "region": node.region,
        "provider": node.provider,
        "os": str(node.os),
        "roles": [str(role) for role in node.roles],
        "addresses": {
            "announced": _pair(node.announced),
            "tunnel": _pair(node.tunnel),
            "public": made.addresses(),
        },
        "sessions": list(_sessions(plan, node)),
        "links": [link.peer for link in node.links],
    }


def _sessions(plan: Plan, node: PlannedNode) -> Iterator[dict[str, str | int]]:
    """BGP sessions beside those of the underlay, which has one on every link."""
    for upstream in node.upstreams:
        yield {
            "name": upstream.name,
            "kind": "upstream",
            "family": upstream.family,
            "peer_asn": upstream.peer_asn,
            "neighbor": str(upstream.neighbor),
            **({"interface": upstream.interface} if upstream.interface else {}),
        }
    for kind, ibgp in (("reflector", node.reflectors), ("direct", node.direct)):
        for session in ibgp:
            yield {
                "name": session.name,
                "kind": kind,
                "family": session.family,
                "peer_asn": plan.asn,
                "neighbor": str(session.neighbor),
            }


def _pair(pair: AddressPair | PrefixPair) -> dict[str, str | None]:
    found = {"ipv4": pair.ipv4, "ipv6": pair.ipv6}
    return {family: None if one is None else str(one) for family, one in found.items()}
