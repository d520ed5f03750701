"""Toy: takes announcements from instances, over a session that is the same in all regions."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from mesh.spec.providers.provider import Provider, Upstream
from mesh.spec.section import Section


class Options(Section):
    """Options of Toy."""

    plan: str = "toy-1"
    """Size of a server that has no ``plan`` of its own, by Toy's name for it."""


FACTS = Provider(
    name="toy",
    announces=True,
    mtu=1500,
    user_data_limit=16_384,
    options=Options,
    plan_form=r"^toy-[0-9]+$",
    regions={"west": (33.94, -118.41), "east": (40.69, -74.17)},
    at={"lax": "west", "ewr": "east"},
    upstream=Upstream(
        65549, IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"), multihop=2, password=True
    ),
    asn=65549,
)
