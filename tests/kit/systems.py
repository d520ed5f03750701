"""Nodes of a plan that run OpenBSD, and how a BIRD on Linux reads their files as they are.

The names of interfaces and folders are all that such a BIRD has to find: ``/var/run`` is a link to
``/run`` in the node image, and any interface may be called ``lo1``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from mesh.bird.constants import served
from mesh.operating_systems import OperatingSystem
from mesh.plan import Node, Plan
from mesh.plan.links import link_local4
from mesh.render import File
from mesh.render.systems import system_of
from tests.kit.machine import BIRDS, IMAGES
from tests.kit.namespaces import address_line

DEBIAN, OPENBSD = OperatingSystem.DEBIAN, OperatingSystem.OPENBSD
RUNS = (*((version, DEBIAN) for version in BIRDS), (IMAGES, OPENBSD))
"""Each BIRD with the files of Debian, and the node image's with those of OpenBSD."""


def on(system: OperatingSystem, plan: Plan, node_id: str) -> Plan:
    """The plan with a node on that system, also one that a stack file would have to leave on
    Debian: what BIRD is told does not depend on it."""
    if system is not OPENBSD:
        return plan
    numbers = {node.id: node.number for node in plan.nodes}
    node = plan.node(node_id)
    links = tuple(
        replace(e, interface=f"wg{numbers[e.peer]}", local4=link_local4(numbers[e.peer]))
        for e in node.links
    )
    changed = replace(node, os=OPENBSD, links=links)
    return replace(plan, nodes=tuple(changed if n.id == node_id else n for n in plan.nodes))


def serving(addresses: Iterable[IPv4Address | IPv6Address] = ()) -> File:
    """The file by which an agent on OpenBSD has its BIRD serve these addresses."""
    return File("/run/anycast-mesh/bird/served.conf", served(addresses))


def own_interface(node: Node, bound: Iterable[IPv4Address | IPv6Address] = ()) -> list[str]:
    """Lines of ``ip`` for the interface of a node's own addresses; ``bound`` are more of them."""
    name = system_of(node).names.interface
    return [
        f"link add {name} type bridge",
        f"link set {name} up",
        *(address_line(a, name) for a in (*node.tunnel.both(), *node.announced.both(), *bound)),
    ]


def tunnel_ends(node: Node) -> dict[str, list[str]]:
    """By interface, lines of ``ip`` for a node's end of each tunnel, of which there is a wire."""
    found = {}
    for link in node.links:
        own = [f"address add {link.local}/64 dev {link.interface} nodad"]
        if node.os is OPENBSD:
            own.append(f"address add {link.local4}/32 dev {link.interface}")
        quiet = f"link set {link.interface} addrgenmode none"
        found[link.interface] = [quiet, *own, f"link set {link.interface} up"]
    return found
