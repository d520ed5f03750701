"""How a key of the stack file is written, for whoever lacks it.

The examples of the keys that have to be there make a stack file together, the smallest that can be
used: one node with IPv4.
"""

from __future__ import annotations

from collections.abc import Sequence

_REGION = (
    "{name: Los Angeles, location: [33.94, -118.41], block: 192.30.120.0/29, "
    "slots: {vultr-1: 192.30.120.1}}"
)
_SERVICE = (
    "{addresses: {ipv4: 192.30.120.100}, ports: {tcp: [80]}, checks: [{kind: http, port: 80}]}"
)
_ALL: dict[tuple[str, ...], str] = {
    ("asn",): "27218",
    ("prefixes",): "{ipv4: 192.30.120.0/23}",
    ("prefixes", "ipv4"): "192.30.120.0/23",
    ("prefixes", "ipv6"): '"2620:71:4000::/48"',
    ("tunnels",): '{ipv4: 10.10.10.0/24, ipv6: "fd00:10:10::/48"}',
    ("tunnels", "ipv4"): "10.10.10.0/24",
    ("tunnels", "ipv6"): '"fd00:10:10::/48"',
    ("admin",): "{ssh: [203.0.113.7/32]}",
    ("admin", "ssh"): "[203.0.113.7/32]",
    ("admin", "keys"): "[ssh-ed25519 AAAA… you@desk, ssh-ed25519 AAAA… you@laptop]",
    ("regions",): f"{{lax: {_REGION}}}",
    ("regions", "*"): _REGION,
    ("regions", "*", "name"): "Los Angeles",
    ("regions", "*", "location"): "[33.94, -118.41]",
    ("regions", "*", "block"): "192.30.120.0/29",
    ("regions", "*", "slots"): "{vultr-1: 192.30.120.1}",
    ("regions", "*", "at"): "{vultr: fra}",
    ("nodes",): "{lax-vultr-1: {number: 1}}",
    ("nodes", "*"): "{number: 1}",
    ("nodes", "*", "number"): "1",
    ("nodes", "*", "host"): "{ipv4: 203.0.113.10, ssh: {trustFirst: true}}",
    ("nodes", "*", "host", "ipv4"): "203.0.113.10",
    ("nodes", "*", "host", "ssh"): "{hostKeys: [ssh-ed25519 AAAA…]}",
    ("nodes", "*", "host", "ssh", "hostKeys"): "[ssh-ed25519 AAAA…]",
    ("nodes", "*", "host", "upstream"): "{peerAsn: 53667, ipv4: 203.0.113.1}",
    ("nodes", "*", "host", "upstream", "peerAsn"): "53667",
    ("nodes", "*", "host", "upstream", "ipv4"): "203.0.113.1",
    ("reflectors",): "[lax-vultr-1]",
    ("registries",): "[lax-vultr-1]",
    ("services",): f"{{web: {_SERVICE}}}",
    ("services", "*"): _SERVICE,
    ("services", "*", "addresses"): "{ipv4: 192.30.120.100}",
    ("services", "*", "addresses", "ipv4"): "192.30.120.100",
    ("services", "*", "addresses", "ipv6"): '"2620:71:4000::100"',
    ("services", "*", "ports"): "{tcp: [80, 443]}",
    ("services", "*", "ports", "tcp"): "[80, 443]",
    ("services", "*", "ports", "udp"): "[53]",
    ("services", "*", "checks"): "[{kind: http, port: 80}]",
    ("services", "*", "checks", "*"): "{kind: http, port: 80}",
    ("services", "*", "checks", "*", "kind"): "http",
    ("services", "*", "checks", "*", "port"): "80",
    ("services", "*", "nodes"): "[lax-vultr-1]",
    ("without",): "[lax-vultr-1]",
}
"""Values by the path of their key; a star is a name that the operator gives, or a place in a
list."""

REQUIRED = ("asn", "prefixes", "tunnels", "admin", "regions", "nodes", "reflectors", "registries")


def written(*path: str) -> str | None:
    """A key as it is written, with a value; None where there is no example. ``path`` is the key's,
    without ``mesh:``, as an error names it."""
    value = _ALL.get(_general(path))
    if value is None:
        return None
    name = f"mesh:{path[0]}" if len(path) == 1 else path[-1]
    return f"- {value}" if name.isdecimal() else f"{name}: {value}"


def for_example(cure: str, *path: str) -> str:
    """A cure with the key as it is written behind it, where there is an example."""
    example = written(*path)
    return cure if example is None else f"{cure}, for example {example}"


def _general(path: Sequence[str]) -> tuple[str, ...]:
    """A path whose names and places are stars."""
    is_map = path[0] in ("regions", "nodes", "services")
    return tuple(
        "*" if (is_map and place == 1) or part.isdecimal() else part
        for place, part in enumerate(path)
    )
