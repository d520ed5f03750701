"""Existing hosts: their addresses, keys and sessions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

from mesh.spec import capabilities
from mesh.spec.aggregates import aggregates
from mesh.spec.checks.ssh_keys import key_body
from mesh.spec.examples import for_example
from mesh.spec.model import Host, Node, Prefixes
from mesh.spec.problems import Problem, shown
from mesh.spec.section import Sections

# IANA "Special-Purpose Address Registries": not reachable from the Internet. The documentation
# prefixes are accepted, since the lab uses them.
UNREACHABLE = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
            "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
        ),
    )
)  # fmt: skip


GLOBAL6 = IPv6Network("2000::/3")


def check_hosts(sections: Sections) -> Iterator[Problem]:
    """An existing host has a public address and a known SSH key, and its session can come up."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    owners: dict[object, str] = {}
    for node_id, node in nodes.items():
        if node.host is None:
            continue
        key = f"mesh:nodes.{node_id}.host"
        for family in ("ipv4", "ipv6"):
            address = getattr(node.host, family)
            if address is None:
                continue
            yield from _check_host_address(f"{key}.{family}", address, sections)
            if address in owners:
                yield Problem(
                    f"{key}.{family}", str(address), f"node {owners[address]} has it already",
                    "give each host its own address",
                )  # fmt: skip
            owners.setdefault(address, node_id)
        yield from _check_host_keys(f"{key}.ssh", node.host)
        if node.host.upstream is not None:
            yield from _check_host_session(f"{key}.upstream", node, sections)


def _check_host_address(
    key: str, address: IPv4Address | IPv6Address, sections: Sections
) -> Iterator[Problem]:
    reachable = (
        address in GLOBAL6
        if isinstance(address, IPv6Address)
        else not any(address in network for network in UNREACHABLE)
    )
    if not reachable:
        yield Problem(
            key, str(address), "it cannot be reached from the Internet",
            "give the public address that the provider's panel shows",
        )  # fmt: skip
    prefixes: Prefixes | None = sections.get("prefixes")
    own = () if prefixes is None else aggregates(prefixes)
    if any(address in network for network in own):
        yield Problem(
            key, str(address), "it is inside the aggregate, which works only once the mesh does",
            "give the address that the provider assigned to the host",
        )  # fmt: skip


def _check_host_keys(key: str, host: Host) -> Iterator[Problem]:
    ssh = host.ssh
    for number, text in enumerate(ssh.host_keys):
        if key_body(text) is None:
            yield Problem(
                f"{key}.hostKeys[{number}]", shown(text), "it is not a host's public key",
                f"copy a line of `{scan(host)}`, without the address",
            )  # fmt: skip
    if not ssh.host_keys and not ssh.trust_first:
        yield Problem(
            f"{key}.hostKeys", "[]",
            "without a key an attacker could answer in the host's place, and become the node",
            f"`{scan(host)}` shows its key: compare it with the provider's console, and write it, "
            f"for example ssh: {{hostKeys: [ssh-ed25519 AAAA…]}}; or set trustFirst: true, which "
            "accepts the key of the first connection and no other one afterwards",
        )  # fmt: skip
    if ssh.host_keys and ssh.trust_first:
        yield Problem(
            f"{key}.trustFirst", "true", "hostKeys lists the accepted keys already",
            "remove one of the two",
        )  # fmt: skip


def scan(host: Host) -> str:
    """The command that shows a host's key."""
    port = "" if host.ssh.port == 22 else f" -p {host.ssh.port}"
    return f"ssh-keyscan -t ed25519{port} {host.ipv4}"


def _check_host_session(key: str, node: Node, sections: Sections) -> Iterator[Problem]:
    host = node.host
    assert host is not None and host.upstream is not None, "the caller has looked"
    if host.upstream.ipv4 is None and host.upstream.ipv6 is None:
        yield Problem(
            key, f"peerAsn {host.upstream.peer_asn}", "a session needs a neighbor",
            for_example(
                "add ipv4, ipv6 or both: the provider's BGP page names them",
                "nodes", "*", "host", "upstream", "ipv4",
            ),
        )  # fmt: skip
    if host.upstream.peer_asn == sections.get("asn"):
        yield Problem(
            f"{key}.peerAsn", str(host.upstream.peer_asn), "it is this network's own ASN",
            "give the provider's",
        )  # fmt: skip
    if host.upstream.ipv6 is not None and node.ipv6 and host.ipv6 is None:
        yield Problem(
            f"{key}.ipv6", str(host.upstream.ipv6),
            "the host has no IPv6 address that such a session could start from",
            "add host.ipv6, or remove this neighbor",
        )  # fmt: skip
    if host.upstream.blackhole is not None:
        yield from check_blackhole(
            f"{key}.blackhole", host.upstream.peer_asn, host.upstream.blackhole
        )


def check_blackhole(key: str, peer_asn: int, blackhole: str) -> Iterator[Problem]:
    """An upstream that does not know the community would announce the attacked address instead of
    discarding its traffic."""
    numbers = capabilities.community(blackhole)
    own = f"{peer_asn}:666"
    largest = 0xFFFF if len(numbers) == 2 else 0xFFFFFFFF
    if max(numbers) > largest:
        yield Problem(
            key, blackhole,
            f"is no community: its numbers go up to {largest}",
            f"the provider's BGP page names it, {own} or 65535:666 at most",
        )  # fmt: skip
    elif numbers != (65535, 666) and numbers[0] != peer_asn:
        yield Problem(
            key, blackhole,
            f"is not of AS{peer_asn}, which would pass it on or ignore it, and still carry "
            "the attack",
            f"give the provider's own, {own} at most, or 65535:666 (RFC 7999)",
        )  # fmt: skip
