"""Plan plus facts in, files out: everything that a node's generation puts on its disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from mesh.facts import Facts
from mesh.plan import AddressPair, Link, Node, Plan, Service
from mesh.render import firewall
from mesh.render.files import File, NodeFiles
from mesh.render.templates import rendered


def node_files(plan: Plan, facts: Mapping[str, Facts]) -> dict[str, NodeFiles]:
    """Files and units of every node that has facts; the others are absent from the network.

    No file holds a secret: session passwords come from :func:`node_secrets`.
    """
    network = _network(plan)
    mtu = min((link.mtu for node in plan.nodes for link in node.links), default=1420)
    regions = {region.id: region for region in plan.regions}
    services = {service.name: service for service in plan.services}
    tunnels = {node.id: node.tunnel for node in plan.nodes}
    done: dict[str, NodeFiles] = {}
    for node in plan.nodes:
        if node.id in facts:
            context = {
                "plan": plan,
                "node": node,
                "facts": facts[node.id],
                "region": regions[node.region],
                "v6": plan.prefixes.ipv6 is not None,
                "mtu": mtu,
            }
            done[node.id] = _files(plan, node, facts, services, tunnels, context, network)
    return done


def node_secrets(plan: Plan, node_id: str, passwords: Mapping[str, str]) -> tuple[File, ...]:
    """The files of a node that are sealed to its key. ``passwords`` is keyed by provider."""
    names = sorted({s.password for s in plan.node(node_id).upstreams if s.password})
    content = rendered("bird/secrets.conf.j2", passwords=[(n, passwords[n]) for n in names])
    return (File("/etc/bird/mesh/secrets.conf", content, 0o640, group="bird"),)


def _files(
    plan: Plan,
    node: Node,
    facts: Mapping[str, Facts],
    services: Mapping[str, Service],
    tunnels: Mapping[str, AddressPair],
    context: dict[str, object],
    network: File,
) -> NodeFiles:
    own = facts[node.id]
    present = [link for link in node.links if link.peer in facts]
    wireguard = [
        File(
            f"/etc/wireguard/{link.interface}.conf",
            rendered("network/wireguard.conf.j2", node=node, link=link, peer=facts[link.peer]),
            0o600,
        )
        for link in present
    ]
    files = [
        File("/etc/bird/bird.conf", _bird(node, context, present, facts), 0o640, group="bird"),
        network,
        File("/etc/bird/mesh/out-of-service.conf", rendered("bird/out-of-service.conf.j2")),
        File(
            "/etc/nftables.conf",
            rendered(
                "network/nftables.conf.j2",
                **context,
                groups=firewall.groups(plan, node, facts),
                rules=firewall.rules(plan, node),
            ),
            0o755,
        ),
        File(
            "/etc/sysctl.d/60-anycast-mesh.conf",
            rendered("network/sysctl.conf.j2", facts=own),
        ),
        File(
            "/etc/systemd/networkd.conf.d/anycast-mesh.conf",
            rendered("network/networkd.conf.j2"),
        ),
        File("/etc/ssh/sshd_config.d/anycast-mesh.conf", rendered("network/sshd.conf.j2")),
        File(
            "/etc/systemd/system/anycast-mesh-dummy.service",
            rendered("systemd/dummy.service.j2", node=node),
        ),
        File(
            "/etc/systemd/system/anycast-mesh-tunnel@.service",
            rendered("systemd/tunnel.service.j2"),
        ),
        File(
            "/etc/systemd/system/bird.service.d/anycast-mesh.conf",
            rendered("systemd/bird.conf.j2"),
        ),
        File("/etc/anycast-mesh/agent.json", _agent(plan, node, services, facts, tunnels)),
        *wireguard,
    ]
    units = ["nftables.service", "anycast-mesh-dummy.service"]
    units += [f"anycast-mesh-tunnel@{link.interface}.service" for link in present]
    units.append("bird.service")
    if plan.whoami:
        files.append(
            File(
                "/etc/systemd/system/anycast-mesh-whoami.service",
                rendered("systemd/whoami.service.j2"),
            )
        )
        units.append("anycast-mesh-whoami.service")
    return NodeFiles(tuple(sorted(files, key=lambda file: file.path)), tuple(units))


def _bird(
    node: Node, context: Mapping[str, object], links: list[Link], facts: Mapping[str, Facts]
) -> str:
    """A node's own part of BIRD's configuration, with the mates that are there."""
    mates = [session for session in node.reflectors if session.peer in facts]
    return rendered("bird/bird.conf.j2", **context, links=links, mates=mates)


def _network(plan: Plan) -> File:
    """The part of BIRD's configuration that is the same on every node: rendered once."""
    tunnels = {node.id: node.tunnel for node in plan.nodes}
    able6 = {node.id for node in plan.nodes if node.ipv6}
    return File(
        "/etc/bird/mesh/network.conf",
        rendered(
            "bird/network.conf.j2",
            plan=plan,
            v6=plan.prefixes.ipv6 is not None,
            service_set4=", ".join(f"{s.addresses.ipv4}/32" for s in plan.services) or "0.0.0.0/32",
            service_set6=", ".join(
                f"{s.addresses.ipv6}/128" for s in plan.services if s.addresses.ipv6
            )
            or "::/128",
            servers4={s.name: _next_hops(s, tunnels, 4) for s in plan.services},
            servers6={s.name: _next_hops(s, tunnels, 6, able6) for s in plan.services},
        ),
    )


def _next_hops(
    service: Service, tunnels: Mapping[str, AddressPair], version: int, able: set[str] | None = None
) -> str:
    """Tunnel addresses of the nodes that may serve this, as elements of a set of BIRD's."""
    ids = [node_id for node_id in service.nodes if able is None or node_id in able]
    pairs = [tunnels[node_id] for node_id in ids]
    if version == 4:
        return ", ".join(str(pair.ipv4) for pair in pairs)
    return ", ".join(str(pair.ipv6) for pair in pairs) or "::"


def _agent(
    plan: Plan,
    node: Node,
    services: Mapping[str, Service],
    facts: Mapping[str, Facts],
    tunnels: Mapping[str, AddressPair],
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
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"
