"""The network's ASN and its aggregates, and that tunnels overlap none of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_network

from mesh.spec.asns import special
from mesh.spec.examples import for_example
from mesh.spec.model import Prefixes, Tunnels
from mesh.spec.problems import Problem
from mesh.spec.section import Sections

LONGEST4, LONGEST6 = 24, 48
"""The longest prefixes that the Internet takes (and Vultr accepts)."""


def check_asn(sections: Sections) -> Iterator[Problem]:
    """The network's own ASN has to be a public one."""
    asn = sections.get("asn")
    if asn is None:
        return
    reason = special(asn)
    if reason is not None:
        yield Problem("mesh:asn", str(asn), reason, "give the ASN that your RIR assigned to you")


def check_families(sections: Sections) -> Iterator[Problem]:
    """The network has an aggregate of one family at least."""
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is not None and prefixes.ipv4 is None and prefixes.ipv6 is None:
        yield Problem(
            "mesh:prefixes", "{}", "there is no prefix that could be announced",
            for_example("add ipv4, ipv6 or both", "prefixes", "ipv4"),
        )  # fmt: skip


def check_prefixes(sections: Sections) -> Iterator[Problem]:
    """Aggregates are global and short enough to be accepted."""
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None:
        return
    ranges = (("ipv4", prefixes.ipv4, LONGEST4), ("ipv6", prefixes.ipv6, LONGEST6))
    for family, network, longest in ranges:
        if network is None:
            continue
        key = f"mesh:prefixes.{family}"
        if network.prefixlen > longest:
            yield Problem(
                key, str(network), f"the Internet takes nothing longer than /{longest}",
                f"give an aggregate of /{longest} or shorter",
            )  # fmt: skip
        if not network.is_global or network.is_multicast:
            yield Problem(
                key, str(network), "this range is not global unicast",
                for_example("give the prefix that your RIR assigned to you", "prefixes", family),
            )  # fmt: skip


def check_overlaps(sections: Sections) -> Iterator[Problem]:
    """Tunnels and aggregates never share an address."""
    prefixes: Prefixes | None = sections.get("prefixes")
    tunnels: Tunnels | None = sections.get("tunnels")
    if prefixes is None or tunnels is None:
        return
    pairs: Iterable[tuple[str, IPv4Network | IPv6Network, IPv4Network | IPv6Network | None]] = (
        ("ipv4", tunnels.ipv4, prefixes.ipv4),
        ("ipv6", tunnels.ipv6, prefixes.ipv6),
    )
    for family, mine, other in pairs:
        if other is not None and mine.overlaps(ip_network(str(other))):
            yield Problem(
                f"mesh:tunnels.{family}", str(mine), f"it overlaps the aggregate {other}",
                "use a private range",
            )  # fmt: skip
