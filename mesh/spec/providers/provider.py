"""A provider's facts for the plan. Its driver (``mesh/infra/providers``) makes servers there; the
two are apart, so that a stack can be checked without an SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface
from typing import Literal

from mesh.operating_systems import OperatingSystem
from mesh.spec.providers.communities import Communities, Community
from mesh.spec.section import Section

NeighborRole = Literal["provider", "peer", "routeServer"]


@dataclass(frozen=True, slots=True)
class Upstream:
    """The eBGP sessions with one upstream: one per family, to these neighbors.

    With ``password`` they use TCP MD5 (RFC 2385), from ``mesh:bgpPassword-<provider>``.
    ``role`` is what the neighbor is to us (RFC 9234). ``name`` is the one in a node's
    ``upstreams``, and empty for the session that a provider prescribes, or ``host.upstream``.
    What follows it is of ``upstreams`` only; ``blackhole`` is the community that the stack file
    gives.
    """

    peer_asn: int
    ipv4: IPv4Address | None
    ipv6: IPv6Address | None
    multihop: int | None
    password: bool
    role: NeighborRole = "provider"
    blackhole: Community | None = None
    name: str = ""
    local4: IPv4Interface | None = None
    local6: IPv6Interface | None = None
    interface: str | None = None
    hold_time: int = 9
    gtsm: bool = False
    bfd: bool = False
    take: Literal["none", "default", "full"] | None = None
    limit: int | None = None
    local_preference: int | None = None
    communities: tuple[Community, ...] = ()


@dataclass(frozen=True, slots=True)
class Vpc:
    """BGP inside a provider's private network: ``routers`` speakers, IPv4 unicast, whose
    addresses are known when they are made. ``multihop`` is None where they share our subnet."""

    routers: int
    multihop: int | None
    password: bool
    bfd: bool


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's facts; the modules give the source of each.

    ``announces`` is False, with the reason in ``refusal``, where it takes no customer's
    announcement from an instance. ``mtu`` is the path MTU between its instances and the Internet.
    ``translates`` is True where an instance has a private address behind 1:1 NAT.
    ``user_data_limit`` is in bytes as the provider counts them, before base64. ``regions`` maps the
    provider's own region names to (latitude, longitude); ``at`` maps common region ids of stack
    files (IATA codes) to them.

    ``systems`` are the operating systems of which it has an image for nodes.

    ``asn`` is the provider's ASN on the Internet, and ``lab_number`` the third group of its nodes'
    IPv6 addresses in the lab: without them the lab takes a documentation ASN and a number derived
    from the name.

    ``examples`` has values of keys for the reference, by their path below the provider's options;
    that of the empty path is the options as a whole. ``keys`` are sentences of the reference on
    keys of other namespaces.
    """

    name: str
    announces: bool
    mtu: int
    user_data_limit: int
    regions: Mapping[str, tuple[float, float]]
    at: Mapping[str, str]
    options: type[Section]
    upstream: Upstream | None = None
    bare_metal: Upstream | None = None
    vpc: Vpc | None = None
    communities: Communities | None = None
    translates: bool = False
    systems: tuple[OperatingSystem, ...] = (OperatingSystem.DEBIAN,)
    refusal: str = ""
    asn: int | None = None
    lab_number: int | None = None
    examples: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    plan_form: str = field(default=r"^[a-z0-9][a-z0-9.-]{1,62}$")
    """Pattern of the provider's names of server sizes, so that a typing error is found offline."""
