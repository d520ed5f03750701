"""What the looking glass knows of the plan: ``/etc/anycast-mesh/glass.json``, from the generation.

The file is the same on all nodes; which node this is stands in ``agent.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar, Literal

from pydantic import ConfigDict

from mesh.operating_systems import OperatingSystem
from mesh.services.kinds import Kind

PATH = "/etc/anycast-mesh/glass.json"
_LENIENT = ConfigDict(extra="ignore")
Address = IPv4Address | IPv6Address
Prefix = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Region:
    """A city: ``location`` is latitude and longitude in degrees."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    id: str
    name: str
    location: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A session of a node with an upstream, by BIRD's name. ``label`` names it in the stack file,
    and is empty for the one of the node's provider; ``take`` is what it may bring."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    name: str
    family: Literal["ipv4", "ipv6"]
    asn: int
    role: Literal["provider", "peer", "routeServer"]
    take: Literal["none", "default", "full"]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A node: ``asn`` is its own in the underlay, ``tunnel`` its addresses there, ``announced``
    its own addresses in our prefixes, ``services`` those that it may serve. ``os`` is its operating
    system."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    id: str
    region: str
    provider: str
    roles: tuple[str, ...]
    asn: int
    tunnel: tuple[Address, ...]
    announced: tuple[Address, ...]
    services: tuple[str, ...]
    upstreams: tuple[Upstream, ...] = ()
    os: str = OperatingSystem.DEBIAN

    @property
    def has_glass(self) -> bool:
        """Whether it runs a looking glass; no system that this version does not know does."""
        return self.os in [each for each in OperatingSystem if each.has_glass]


@dataclass(frozen=True, slots=True)
class Link:
    """A tunnel, by the ids of its ends."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    ends: tuple[str, str]
    cost: int


@dataclass(frozen=True, slots=True)
class Service:
    """An anycast service."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    name: str
    kind: Kind | None
    addresses: tuple[Address, ...]
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A prefix, and the ids of the nodes that may announce it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    prefix: Prefix
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """The whole network. ``public`` opens a reduced glass to everybody. ``communities`` are names
    by community, written as ``20473:300`` or ``20473:6000:1``; ``validators`` are addresses of RPKI
    caches by BIRD's name of the session."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    asn: int
    port: int
    public: bool
    regions: tuple[Region, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    services: tuple[Service, ...]
    aggregates: tuple[Aggregate, ...]
    communities: dict[str, str]
    validators: dict[str, str]

    @cached_property
    def by_id(self) -> dict[str, Node]:
        """The nodes by their ids."""
        return {node.id: node for node in self.nodes}

    @cached_property
    def seen(self) -> tuple[Node, ...]:
        """The nodes that run a looking glass, and so give answers and metrics."""
        return tuple(node for node in self.nodes if node.has_glass)

    @cached_property
    def by_asn(self) -> dict[int, Node]:
        """The nodes by their underlay ASNs."""
        return {node.asn: node for node in self.nodes}

    @cached_property
    def by_address(self) -> dict[Address, Node]:
        """The nodes by their tunnel and announced addresses."""
        return {address: node for node in self.nodes for address in (*node.tunnel, *node.announced)}
