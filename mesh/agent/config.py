"""The agent's configuration: ``/etc/anycast-mesh/agent.json``, from the generation."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from mesh.services.service import Service

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeService(Service):
    """A service of the network; ``local``: this node may serve it. ``content`` is the SHA-256 of
    what it serves."""

    addresses: tuple[IPv4Address | IPv6Address, ...]
    local: bool
    content: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None


@dataclass(frozen=True, slots=True)
class UnderlayNode:
    """A node of the plan: its underlay ASN, and the addresses that it owns."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    id: str
    asn: Annotated[int, Field(ge=1, le=4294967295)]
    addresses: tuple[IPv4Address | IPv6Address, ...]


@dataclass(frozen=True, slots=True)
class UnderlayLink:
    """A tunnel of the plan, by the ids of its ends."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    ends: tuple[str, str]
    cost: Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Underlay:
    """All nodes and all tunnels of the plan, with which the peers' paths are compared."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    nodes: tuple[UnderlayNode, ...]
    links: tuple[UnderlayLink, ...]


@dataclass(frozen=True, slots=True)
class Upstream:
    """A BGP session with an upstream: BIRD's name for it, and its address family."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    family: Literal["ipv4", "ipv6"]


@dataclass(frozen=True, slots=True)
class AnnouncedPrefix:
    """A prefix that this node announces, and the services with addresses in it, by name."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    prefix: IPv4Network | IPv6Network
    services: dict[str, tuple[IPv4Address | IPv6Address, ...]]


@dataclass(frozen=True, slots=True)
class Config:
    """The agent's configuration. ``whoami_at`` are the addresses at which whoami answers, None for
    all that the node has. ``mates`` are the tunnel addresses of the other nodes, ``tunnels``
    this node's WireGuard interfaces. ``linger`` is for how many seconds a node that has withdrawn
    still serves packets that are on their way. ``underlay``, ``upstreams``, ``tunnels`` and
    ``linger`` are None in the file of a generation from an earlier version. ``announced`` is None
    where the node announces all its aggregates or nothing."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    node: str
    region: str
    interface: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,14}$")]
    aggregates: tuple[IPv4Network | IPv6Network, ...]
    mates: tuple[IPv4Address, ...]
    services: tuple[NodeService, ...]
    whoami: bool
    underlay: Underlay | None = None
    upstreams: tuple[Upstream, ...] | None = None
    tunnels: tuple[str, ...] | None = None
    announced: tuple[AnnouncedPrefix, ...] | None = None
    whoami_at: tuple[IPv4Address | IPv6Address, ...] | None = None
    linger: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] | None = None

    @property
    def exports(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The prefixes that this node may announce."""
        if self.announced is None:
            return self.aggregates
        return tuple(each.prefix for each in self.announced)

    @property
    def apart(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The prefixes that come and go each by itself."""
        return () if self.announced is None else self.exports
