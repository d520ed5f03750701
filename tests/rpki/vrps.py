"""VRPs for tests, written as `PREFIX-MAXLENGTH ASN`."""

from __future__ import annotations

from ipaddress import ip_network

from mesh.rpki import Vrp


def vrp(text: str) -> Vrp:
    """`192.0.2.0/24-25 64496`; the prefix's own length where none is said."""
    prefix, asn = text.split()
    network, _, longest = prefix.partition("-")
    made = ip_network(network)
    return Vrp(made, int(longest) if longest else made.prefixlen, int(asn))


def vrps(*texts: str) -> list[Vrp]:
    return [vrp(text) for text in texts]
