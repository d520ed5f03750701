"""Examples of the stack file's keys, for error messages and the reference.

The examples of the required keys together are the smallest stack file: one node with IPv4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mesh.spec.providers import EXAMPLE, PROVIDERS

_FACTS = PROVIDERS[EXAMPLE]
_SLOT = f"{EXAMPLE}-1"
_NODE, _OTHER = f"lax-{_SLOT}", f"ord-{_SLOT}"

LINK = f"{_NODE}:{_OTHER}"
"""A link's name."""

_REGION = (
    "{name: Los Angeles, location: [33.94, -118.41], block: 192.30.120.0/29, "
    f"slots: {{{_SLOT}: 192.30.120.1}}}}"
)
_SERVICE = "{kind: whoami, addresses: {ipv4: 192.30.120.100}}"
_CA = '"-----BEGIN CERTIFICATE-----\\nMIIB…\\n-----END CERTIFICATE-----"'
_ALL: dict[tuple[str, ...], str] = {
    ("asn",): "27218",
    ("prefixes",): "{ipv4: 192.30.120.0/23}",
    ("prefixes", "ipv4"): "192.30.120.0/23",
    ("prefixes", "ipv6"): '"2620:71:4000::/48"',
    ("prefixes", "moreSpecifics"): "[{prefix: 192.30.121.0/24, announcedBy: [ord]}]",
    ("prefixes", "moreSpecifics", "*"): "{prefix: 192.30.121.0/24, announcedBy: [ord]}",
    ("prefixes", "moreSpecifics", "*", "prefix"): "192.30.121.0/24",
    ("prefixes", "moreSpecifics", "*", "announcedBy"): f"[ord, ewr-{_SLOT}]",
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
    ("regions", "*", "slots"): f"{{{_SLOT}: 192.30.120.1}}",
    ("regions", "*", "at"): f"{{{EXAMPLE}: {next(iter(_FACTS.at.values()))}}}",
    ("nodes",): f"{{{_NODE}: {{number: 1}}}}",
    ("nodes", "*"): "{number: 1}",
    ("nodes", "*", "number"): "1",
    ("nodes", "*", "host"): "{ipv4: 203.0.113.10, ssh: {trustFirst: true}}",
    ("nodes", "*", "host", "ipv4"): "203.0.113.10",
    ("nodes", "*", "host", "ssh"): "{hostKeys: [ssh-ed25519 AAAA…]}",
    ("nodes", "*", "host", "ssh", "hostKeys"): "[ssh-ed25519 AAAA…]",
    ("nodes", "*", "host", "upstream"): "{peerAsn: 53667, ipv4: 192.0.2.1}",
    ("nodes", "*", "host", "upstream", "peerAsn"): "53667",
    ("nodes", "*", "host", "upstream", "ipv4"): "192.0.2.1",
    ("nodes", "*", "host", "upstream", "blackhole"): '"53667:666"',
    ("nodes", "*", "upstreams"): (
        "[{name: transit, asn: 64510, ipv4: 192.0.2.9, local: {ipv4: 192.0.2.10/30}, "
        "interface: eth1}]"
    ),
    ("nodes", "*", "upstreams", "*"): "{name: transit, asn: 64510, ipv4: 192.0.2.9}",
    ("nodes", "*", "upstreams", "*", "name"): "transit",
    ("nodes", "*", "upstreams", "*", "asn"): "64510",
    ("nodes", "*", "upstreams", "*", "ipv4"): "192.0.2.9",
    ("nodes", "*", "upstreams", "*", "local"): '{ipv4: 192.0.2.10/30, ipv6: "2001:db8:a::2/64"}',
    ("nodes", "*", "upstreams", "*", "interface"): "eth1",
    ("nodes", "*", "upstreams", "*", "blackhole"): '"64510:666"',
    ("reflectors",): f"[{_NODE}]",
    ("registries",): f"[{_NODE}]",
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
    ("services", "*", "checks", "*", "host"): "www.example.net",
    ("services", "*", "checks", "*", "name"): "example.net",
    ("services", "*", "checks", "*", "send"): "ping",
    ("services", "*", "checks", "*", "command"): "mail-queue",
    ("services", "*", "nodes"): f"[{_NODE}]",
    ("services", "*", "kind"): "web",
    ("services", "*", "content"): "site",
    ("services", "*", "names"): "[www.example.net]",
    ("services", "*", "unit"): "caddy.service",
    ("monitoring",): f"{{nodes: [{_NODE}], receivers: {{pager: {{kind: pagerduty}}}}}}",
    ("monitoring", "nodes"): f"[{_NODE}]",
    ("monitoring", "receivers"): "{pager: {kind: pagerduty}}",
    ("monitoring", "receivers", "*"): "{kind: pagerduty}",
    ("monitoring", "receivers", "*", "kind"): "pagerduty",
    ("monitoring", "receivers", "*", "severities"): "[critical]",
    ("monitoring", "receivers", "*", "to"): "noc@example.net",
    ("monitoring", "receivers", "*", "from"): "mesh@example.net",
    ("monitoring", "receivers", "*", "server"): "smtp.example.net:587",
    ("drain",): "{linger: 60}",
    ("drain", "linger"): "60",
    ("without",): f"[{_NODE}]",
}
"""Values by the path of their key; a star is a name that the operator chooses, or a list index."""

_FURTHER: dict[tuple[str, ...], str] = {
    ("tunnels", "bfd"): "{interval: 300, multiplier: 3}",
    ("tunnels", "links"): f'{{"{LINK}": {{interval: 300}}}}',
    ("registry",): "{port: 8443, sources: [203.0.113.0/24]}",
    ("registry", "sources"): '[203.0.113.0/24, "2001:db8::/32"]',
    ("nodes", "*", "os"): "openbsd",
    ("nodes", "*", "announce"): "false",
    ("nodes", "*", "plan"): _FACTS.examples["plan",],
    ("nodes", "*", "import"): "default",
    ("nodes", "*", "host", "ipv6"): '"2001:db8::10"',
    ("nodes", "*", "host", "upstream", "ipv6"): '"2001:db8::1"',
    ("nodes", "*", "host", "upstream", "multihop"): "2",
    ("nodes", "*", "upstreams", "*", "ipv6"): '"2001:db8:a::1"',
    ("nodes", "*", "upstreams", "*", "local", "ipv4"): "192.0.2.10/30",
    ("nodes", "*", "upstreams", "*", "local", "ipv6"): '"2001:db8:a::2/64"',
    ("nodes", "*", "upstreams", "*", "multihop"): "2",
    ("nodes", "*", "upstreams", "*", "import"): "default",
    ("nodes", "*", "upstreams", "*", "localPreference"): "120",
    ("nodes", "*", "upstreams", "*", "limit"): "200000",
    ("nodes", "*", "upstreams", "*", "communities"): '["64510:100"]',
    ("services", "*", "checks", "*", "path"): "/health",
    ("services", "*", "checks", "*", "timeout"): "0.5",
    ("services", "*", "checks", "*", "status"): "[200, 401]",
    ("services", "*", "checks", "*", "contains"): "Welcome",
    ("services", "*", "checks", "*", "ca"): _CA,
    ("services", "*", "checks", "*", "serial"): "2026112901",
    ("services", "*", "checks", "*", "nsid"): "true",
    ("services", "*", "checks", "*", "expect"): '"0x706f6e67"',
    ("services", "*", "checks", "*", "arguments"): '["--most", "200"]',
    ("routing",): "{import: full, maxPrefixes: {action: restart}}",
    ("routing", "ixpLans"): '[193.0.22.0/24, "2001:7f8::/32"]',
    ("routing", "maxPrefixes"): "{ipv4: 1200000, ipv6: 300000}",
    ("rpki",): '{servers: ["rtr://192.0.2.10:3323"]}',
    ("rpki", "demand"): "https://rpki.example.net/vrps.json",
    ("rpki", "servers"): '["rtr://192.0.2.10:3323"]',
    ("glass",): "{port: 8081}",
    ("traffic",): "[{name: keep-new-york-light, regions: [ewr], prepend: 2}]",
    ("traffic", "*", "name"): "keep-new-york-light",
    ("traffic", "*", "nodes"): f"[ewr-{_SLOT}]",
    ("traffic", "*", "regions"): "[ewr]",
    ("traffic", "*", "prefix"): "192.30.120.0/23",
    ("traffic", "*", "sessions"): "[transit]",
    ("traffic", "*", "prepend"): "2",
    ("traffic", "*", "scope"): "noIxp",
    ("traffic", "*", "med"): "50",
    ("traffic", "*", "toAs"): "[{asn: 174, prepend: 2}, {asn: 3356, export: false}]",
    ("traffic", "*", "toAs", "*", "asn"): "174",
    ("traffic", "*", "toAs", "*", "prepend"): "2",
    ("traffic", "*", "toAs", "*", "export"): "false",
    ("traffic", "*", "communities"): '["174:3001"]',
    ("traffic", "*", "localPreference"): "120",
    ("monitoring", "watchdog"): "deadman",
    ("monitoring", "retention"): "30",
    ("monitoring", "receivers", "*", "user"): "mesh@example.net",
    ("monitoring", "receivers", "*", "channel"): '"#noc"',
    ("twin",): "prod",
}
"""The same of keys that only the reference shows."""


def _of_providers() -> Iterator[tuple[tuple[str, ...], str]]:
    """The options of each provider, and ``providers`` as a whole."""
    whole = {name: facts.examples[()] for name, facts in PROVIDERS.items() if () in facts.examples}
    yield ("providers",), f"{{{', '.join(f'{name}: {value}' for name, value in whole.items())}}}"
    for name, facts in PROVIDERS.items():
        yield from ((("providers", name, *path), value) for path, value in facts.examples.items())


_FURTHER |= _of_providers()

REQUIRED = ("asn", "prefixes", "tunnels", "admin", "regions", "nodes", "reflectors", "registries")


def written(*path: str) -> str | None:
    """A key with its example value in YAML; None where there is no example. ``path`` is without
    ``mesh:``, as in an error."""
    value = _ALL.get(_general(path))
    if value is None:
        return None
    name = _name(path)
    return f"- {value}" if name.isdecimal() else f"{name}: {value}"


def shown(*path: str) -> str | None:
    """The same for the reference; ``path`` has stars already."""
    value = _ALL.get(path) or _FURTHER.get(path)
    return None if value is None else f"{_name(path)}: {value}"


def _name(path: Sequence[str]) -> str:
    return f"mesh:{path[0]}" if len(path) == 1 else path[-1]


def for_example(cure: str, *path: str) -> str:
    """A cure with an example of the key appended, where there is one."""
    example = written(*path)
    return cure if example is None else f"{cure}, for example {example}"


def _general(path: Sequence[str]) -> tuple[str, ...]:
    """A path with stars in place of names and list indices."""
    named = {"regions": 1, "nodes": 1, "services": 1, "monitoring": 2}.get(path[0])
    return tuple(
        "*" if place == named or part.isdecimal() else part for place, part in enumerate(path)
    )
