"""Example facts for rendering before a node exists; never deployed."""

from __future__ import annotations

import base64
import hashlib
from ipaddress import IPv4Address, IPv6Address

from mesh.facts import Facts, Placement
from mesh.operating_systems import OperatingSystem
from mesh.plan import Plan

_UPLINKS = {OperatingSystem.DEBIAN: "enp1s0", OperatingSystem.OPENBSD: "vio0"}
_RELEASES = {OperatingSystem.DEBIAN: "13", OperatingSystem.OPENBSD: "7.9"}
_FIRST4, _FIRST6 = int(IPv4Address("203.0.113.0")), int(IPv6Address("2001:db8::"))


def placeholder_facts(plan: Plan) -> dict[str, Facts]:
    """Facts of every node from the documentation ranges (RFC 5737, RFC 3849). Public keys are
    hashes of the node's name, so that there is no private key."""
    return {
        node.id: Facts(
            instance_id=f"placeholder-{node.id}",
            uplink=_UPLINKS[node.os],
            ipv4=_inside(node.number) if node.translated else _public(node.number),
            ipv6=IPv6Address(_FIRST6 + node.number) if node.ipv6 else None,
            gateway4=IPv4Address("203.0.113.254"),
            gateway6=IPv6Address("fe80::ffff") if node.ipv6 else None,
            mtu=1500,
            bird="2.17.5",  # stands for the series; later point releases read the same files
            kernel="6.12.0",
            release=_RELEASES[node.os],
            os=node.os,
            kernel_wireguard=True,
            wireguard=_key("wireguard", node.id),
            identity=_key("identity", node.id),
            sealing=_key("sealing", node.id),
            tls_sha256=None,
        )
        for node in plan.nodes
    }


def _key(kind: str, node_id: str) -> str:
    return base64.b64encode(hashlib.sha256(f"{kind} of {node_id}".encode()).digest()).decode()


def placeholder_placements(plan: Plan) -> dict[str, Placement]:
    """Placements of every node from the documentation ranges; a translated node and its routers
    have addresses of RFC 1918."""
    facts = placeholder_facts(plan)
    return {
        node.id: Placement(
            ipv4=_public(node.number),
            ipv6=facts[node.id].ipv6,
            inside=_inside(node.number) if node.translated else None,
            routers=tuple(_inside(0) + 250 + number for number in range(len(node.vpc))),
        )
        for node in plan.nodes
    }


def _public(number: int) -> IPv4Address:
    return IPv4Address(_FIRST4 + number % 254)


def _inside(number: int) -> IPv4Address:
    return IPv4Address("172.31.0.0") + number % 250
