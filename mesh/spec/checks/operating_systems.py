"""Nodes with OpenBSD: what they cannot be, and what they cannot do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mesh.operating_systems import OperatingSystem
from mesh.services.checks.exec import ExecCheck
from mesh.spec import capabilities
from mesh.spec.aggregates import able, announced, announcers
from mesh.spec.checks.kinds import SERVED
from mesh.spec.glass import glass_of
from mesh.spec.model import Monitoring, Node, NodeUpstream, Prefixes, Service
from mesh.spec.problems import Problem
from mesh.spec.providers import PROVIDERS, Provider
from mesh.spec.section import Sections

OPENBSD = OperatingSystem.OPENBSD
DAEMONS = {"web": "nginx", "dns": "NSD"}
"""What nodes with Debian set up for the kinds that serve content."""
OF_DEBIAN = (
    ("reflectors", "a route reflector is set up on Debian alone"),
    ("registries", "a registry is set up on Debian alone"),
)
"""The lists of nodes in which none with OpenBSD may be, and why."""
_INTERFACE = re.compile(r"[a-z]+[0-9]+")
"""An interface's name on OpenBSD (ifconfig(8)): the driver's, and a number."""


def check_operating_systems(sections: Sections) -> Iterator[Problem]:
    """Nodes with OpenBSD are edges that their provider can make, without what runs on Debian
    alone."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    others = {node_id: node for node_id, node in nodes.items() if node.os is OPENBSD}
    if not others:
        return
    debian = sorted(nodes.keys() - others.keys())
    for node_id, node in others.items():
        yield from _check_server(node_id, node)
        for given in node.upstreams:
            yield from _check_session(f"mesh:nodes.{node_id}.upstreams.{given.name}", node, given)
    yield from _check_roles(sections, others, debian)
    yield from _check_replies(sections, nodes, others)
    services: Mapping[str, Service] = sections.get("services") or {}
    for name, service in services.items():
        here = [node_id for node_id, node in others.items() if _may_serve(service, node_id, node)]
        if here:
            yield from _check_service(f"mesh:services.{name}", service, here, debian)
    if glass_of(sections) is not None:
        yield Problem(
            f"mesh:nodes.{min(others)}.os", "openbsd",
            f"no looking glass runs on OpenBSD, and only those of other nodes show "
            f"{', '.join(sorted(others))}", "ask another node's, as `mesh glass` does",
            severity="warning",
        )  # fmt: skip


def _check_server(node_id: str, node: Node) -> Iterator[Problem]:
    """The provider makes such a server, and the node is an edge."""
    facts = capabilities.provider(node_id, node)
    if facts is None:
        return  # check_provider reports it
    key = f"mesh:nodes.{node_id}"
    if node.host is None and OPENBSD not in facts.systems:
        yield Problem(
            f"{key}.os", "openbsd", f"{facts.name} has no image of OpenBSD that nodes are made of",
            f"remove the key, or add the node at {_makers()}, or at any provider as a server that "
            f"exists already (host:)",
        )  # fmt: skip
    elif node.bare_metal:
        yield Problem(
            f"{key}.bareMetal", "true",
            f"no image of OpenBSD for bare metal of {facts.name} is known",
            "remove bareMetal, or os",
        )  # fmt: skip
    elif not capabilities.upstreams(node_id, node):
        yield Problem(
            f"{key}.os", "openbsd",
            "the node has no upstream, and what leads replies of such a node to an edge is made "
            "of Linux's routing rules", f"{_upstream(node, facts)}, or remove os",
        )  # fmt: skip


def _makers() -> str:
    """The providers that make servers with OpenBSD."""
    return " or ".join(name for name, facts in PROVIDERS.items() if OPENBSD in facts.systems)


def _upstream(node: Node, facts: Provider) -> str:
    """How a node becomes an edge."""
    if node.announce is False:
        return "remove announce: false"
    if not facts.announces:
        return f"move the node to a provider that takes announcements ({facts.refusal})"
    return "add its provider's session as host.upstream, or others as upstreams"


def _check_session(key: str, node: Node, given: NodeUpstream) -> Iterator[Problem]:
    """What BIRD cannot ask of OpenBSD's kernel (sysdep/bsd in its source)."""
    ipv6 = given.ipv6 is not None and node.ipv6
    if given.ttl_security and ipv6:
        yield Problem(
            f"{key}.ttlSecurity", "true",
            "BIRD on OpenBSD has TTL security for IPv4 alone, and the session is for IPv6 too",
            "remove ttlSecurity, or give the IPv4 session an entry of its own",
        )  # fmt: skip
    if given.interface is not None and not _INTERFACE.fullmatch(given.interface):
        yield Problem(
            f"{key}.interface", given.interface,
            "on OpenBSD an interface has the name of its driver and a number",
            "write the name that ifconfig shows there, for example vio1 or vlan7",
        )  # fmt: skip
    if not given.password or given.interface is None:
        return
    # Security associations for MD5 are between two addresses, and the plan does not know those of
    # an interface that is the operator's.
    for family, neighbor in (("ipv4", given.ipv4), ("ipv6", given.ipv6 if ipv6 else None)):
        if neighbor is not None and getattr(given.local, family) is None:
            yield Problem(
                f"{key}.local.{family}", "unset",
                "on OpenBSD a session with a password needs its own address written",
                f"add the address that the node has on {given.interface}",
            )  # fmt: skip


def _check_roles(
    sections: Sections, others: Mapping[str, Node], debian: list[str]
) -> Iterator[Problem]:
    monitoring: Monitoring | None = sections.get("monitoring")
    places: list[tuple[str, str, tuple[str, ...]]] = [
        (f"mesh:{key}", reason, sections.get(key) or ()) for key, reason in OF_DEBIAN
    ]
    if monitoring is not None:
        reason = "Prometheus and Alertmanager are set up on Debian alone"
        places.append(("mesh:monitoring.nodes", reason, monitoring.nodes))
    for key, reason, names in places:
        other = next((each for each in debian if each not in names), None)
        for name in names:
            if name in others:
                yield Problem(
                    key, name, f"{reason}, and this node runs OpenBSD",
                    "remove it there" + (f", or name {other} in its place" if other else ""),
                )  # fmt: skip


def _check_replies(
    sections: Sections, nodes: Mapping[str, Node], others: Mapping[str, Node]
) -> Iterator[Problem]:
    """Replies from each prefix leave at the node that answers."""
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None:
        return
    of_family = able(nodes, prefixes)
    for each in announced(prefixes):
        by = announcers(each, of_family)
        if each.is_more_specific or each.by is None or by == of_family[each.family]:
            continue
        for node_id in others:
            # A node without any upstream has a problem of its own.
            if node_id not in by and capabilities.upstreams(node_id, nodes[node_id]):
                yield Problem(
                    f"{each.key}.announcedBy", ", ".join(each.by),
                    f"{node_id} does not announce {each.prefix}, so that its replies from there "
                    "would have to leave at another node, and it runs OpenBSD, where nothing "
                    "leads them",
                    f"name {node_id} there too, or remove its os",
                )  # fmt: skip


def _may_serve(service: Service, node_id: str, node: Node) -> bool:
    named = service.nodes is None or node_id in service.nodes
    return named and bool(service.addresses.every4 or node.ipv6)


def _check_service(
    key: str, service: Service, here: list[str], debian: list[str]
) -> Iterator[Problem]:
    """What nodes do for a service by themselves is done on Debian alone."""
    left = [each for each in debian if service.nodes is None or each in service.nodes]
    elsewhere = f"leave it to the others, for example nodes: [{', '.join(left)}]" if left else (
        "name nodes with Debian in nodes"
    )  # fmt: skip
    runs = f"{', '.join(sorted(here))} {'run' if len(here) > 1 else 'runs'} OpenBSD"
    if service.kind in SERVED and service.kind is not None:
        yield Problem(
            f"{key}.kind", service.kind,
            f"{runs}, where no {DAEMONS[service.kind]} is set up and no content is brought",
            f"{elsewhere}; or write kind: external, and run the daemon yourself on all of them",
        )  # fmt: skip
    if service.unit is not None:
        yield Problem(
            f"{key}.unit", service.unit, f"{runs}, which has no units of systemd",
            f"remove unit, or {elsewhere}",
        )  # fmt: skip
    for number, check in enumerate(service.checks or ()):
        if isinstance(check, ExecCheck):
            yield Problem(
                f"{key}.checks.{number}", f"exec {check.command}",
                f"{runs}, where checks of kind exec are not run",
                f"ask the service itself, for example by kind: tcp; or {elsewhere}",
            )  # fmt: skip
