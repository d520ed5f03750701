"""Words for what BIRD has as numbers and names: reasons, communities, sessions, origins."""

from __future__ import annotations

import re
from typing import Literal

from mesh.glass.answers import Community
from mesh.glass.network import Network, Node

REJECTED = 65666
"""The second part of the large community that holds the reason of a refusal (reasons.conf)."""
REASONS: dict[int, str] = {
    1: "a default route, where a full table was asked for",
    2: "not a default route, where only that was asked for",
    3: "our own prefix, or a part of it",
    4: "a bogon prefix",
    5: "too short a prefix",
    6: "too long a prefix",
    7: "a peering LAN",
    8: "the path does not begin with the neighbor",
    9: "our own ASN in the path",
    10: "an AS_SET in the path",
    11: "a bogon ASN in the path",
    12: "the neighbor's private ASN deeper in the path",
    13: "a path of more than 100 ASNs",
    14: "a next hop that is not the neighbor",
    15: "invalid by a ROA",
    16: "invalid by an ASPA record",
    32: "an address that the path's origin does not own",
    33: "a path over more links than the plan allows",
    34: "a path over a link that the plan does not have",
    35: "a next hop beside the tunnels",
    36: "no address of a service",
    37: "a service at a node that may not serve it",
    38: "of a client: another node's instance, or a blackhole",
    39: "a blackhole for what may not be discarded",
}
"""Why a route is refused, by the number of ``reasons.conf``."""
UNMARKED = "refused without a mark: by BIRD itself, or by a policy before this one"

WELL_KNOWN: dict[str, str] = {
    "65535:0": "graceful shutdown",
    "65535:1": "accept own",
    "65535:6": "long-lived stale",
    "65535:7": "no long-lived stale",
    "65535:666": "blackhole",
    "65535:65281": "no export",
    "65535:65282": "no advertise",
    "65535:65283": "no export outside the subconfederation",
    "65535:65284": "no peer",
}
"""Communities of IANA's list (RFC 1997, 7999, 8326, 9494)."""

STATES: dict[str, str] = {
    "Established": "routes are exchanged",
    "OpenConfirm": "the neighbor has answered, and is about to confirm",
    "OpenSent": "connected, and waiting for the neighbor's answer",
    "Connect": "connecting",
    "Active": "waiting for a connection",
    "Idle": "waiting before the next attempt",
    "Passive": "waiting to be called",
    "Close": "closing",
    "Down": "switched off",
    "down": "switched off",
}
"""What BIRD's states of a session mean."""

Kind = Literal["tunnel", "ibgp", "upstream", "vpc", "static", "device", "other"]
KINDS: dict[Kind, str] = {
    "tunnel": "tunnel",
    "ibgp": "iBGP",
    "upstream": "upstream",
    "vpc": "VPC",
    "static": "static",
    "device": "this node",
    "other": "other",
}
"""Kinds of sessions, and of other sources of routes."""

TABLES: dict[str, str] = {
    "master": "our own addresses and prefixes",
    "services": "services at other nodes",
    "internet": "routes of upstreams, and what they are told",
    "replies": "where replies leave that our upstream does not take",
}
"""What is in a table, by its name without family."""

_STATIC = re.compile(r"^(discard|orders|exit)[46](_\d+)?$")


def reason(number: int) -> str:
    """A reason of refusal in words."""
    return REASONS.get(number, f"reason {number}, which this version does not know")


def community(value: str, network: Network) -> Community:
    """A community with its name: the operator's, the network's, or IANA's."""
    parts = value.split(":")
    if len(parts) == 3 and parts[:2] == [str(network.asn), str(REJECTED)] and parts[2].isdigit():
        return Community(value, f"refused: {reason(int(parts[2]))}"[:400])
    return Community(value, (network.communities.get(value) or WELL_KNOWN.get(value, ""))[:400])


def symbol(node_id: str) -> str:
    """A node's id as it is in the names of BIRD's protocols."""
    return node_id.replace("-", "_")


def source(name: str, node: Node, network: Network) -> tuple[Kind, str]:
    """Of one of BIRD's protocols on a node: its kind, and the peer: a node's id, or the name of an
    upstream as the stack file or the node's provider has it."""
    for kind, prefixes in (("tunnel", ("u_",)), ("ibgp", ("mate4_", "mate6_"))):
        for prefix in prefixes:
            if name.startswith(prefix):
                rest = name.removeprefix(prefix)
                peer = next((each.id for each in network.nodes if symbol(each.id) == rest), "")
                return ("tunnel" if kind == "tunnel" else "ibgp"), peer
    for upstream in node.upstreams:
        if upstream.name == name:
            return "upstream", upstream.label or node.provider
    if name in ("vpc1", "vpc2"):
        return "vpc", node.provider
    if _STATIC.match(name):
        return "static", ""
    return ("device" if name == "bound" else "other"), ""


def sessions(node: Node, network: Network) -> dict[str, str]:
    """The BGP sessions that a node may have by the plan, by BIRD's name, in words."""
    found: dict[str, str] = {}
    for link in network.links:
        if node.id in link.ends:
            peer = link.ends[1] if link.ends[0] == node.id else link.ends[0]
            found[f"u_{symbol(peer)}"] = f"{peer}, tunnel"
    for other in network.nodes:
        if other.id != node.id:
            for n in (4, 6):
                found[f"mate{n}_{symbol(other.id)}"] = f"{other.id}, iBGP for IPv{n}"
    for upstream in node.upstreams:
        family = "IPv4" if upstream.family == "ipv4" else "IPv6"
        found[upstream.name] = f"{upstream.label or node.provider}, {family}"
    return found | {name: f"{node.provider}, {name}" for name in ("vpc1", "vpc2")}
