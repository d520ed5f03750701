"""The stack file as typed models: the shape of each key, and nothing about their meaning together.

What keys mean together (a slot inside its region, a node in a slot) is :mod:`mesh.spec.meaning`.
"""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_network,
)
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=32)]
RegionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,7}$")]
SlotName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*-[1-9][0-9]?$")]
NodeId = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9]*-[a-z][a-z0-9]*-[1-9][0-9]?$", max_length=12)
]


class Refused(ValueError):
    """A value that cannot be; ``cure`` is what to write instead."""

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(reason)
        self.cure = cure


def _network(value: Any) -> Any:
    """Refuse host bits with the network that was probably meant; the rest is the type's to say."""
    if isinstance(value, str):
        try:
            interface = IPv6Interface(value) if ":" in value else IPv4Interface(value)
        except ValueError:
            return value
        network = interface.network
        if interface.ip != network.network_address:
            raise Refused(
                f"it is a host address with a length, not a network; the network is {network}",
                f"write {network}",
            )
    return value


def _either(value: Any) -> Any:
    """Refuse what is a network of neither family once, instead of once for each."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        raise Refused("this is not a network", "write it as 192.0.2.0/24") from None
    return value


Network4 = Annotated[IPv4Network, BeforeValidator(_network)]
Network6 = Annotated[IPv6Network, BeforeValidator(_network)]
NetworkAny = Annotated[
    IPv4Network | IPv6Network, BeforeValidator(_network), BeforeValidator(_either)
]


class Section(BaseModel):
    """A part of the stack file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Prefixes(Section):
    """The aggregates that are announced to the Internet."""

    ipv4: Network4
    ipv6: Network6 | None = None


class BfdTimers(Section):
    """BFD on a tunnel: interval in milliseconds, missed packets until it is down (RFC 5880)."""

    interval: Annotated[int, Field(ge=50, le=5000)] = 150
    multiplier: Annotated[int, Field(ge=2, le=20)] = 3


class Tunnels(Section):
    """Ranges of the tunnel addresses and how tunnels are made."""

    ipv4: Network4
    ipv6: Network6
    port: Port = 51820
    full_mesh: Annotated[int, Field(ge=2, le=64, alias="fullMesh")] = 32
    bfd: BfdTimers = BfdTimers()
    links: dict[str, BfdTimers] = {}


class Admin(Section):
    """Who may log in: networks and at least two keys; ``world`` says that anyone may try."""

    ssh: tuple[NetworkAny, ...]
    keys: tuple[str, ...] = ()
    world: bool = False


class Registry(Section):
    """The registry's port and from where it may be reached; anyone, with rate limits, if unsaid."""

    port: Port = 8443
    sources: tuple[NetworkAny, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


class Region(Section):
    """A place: its /29 of host addresses and who sits at which of them."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    block: Network4
    location: tuple[
        Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-180, le=180)]
    ]
    slots: dict[SlotName, IPv4Address] = {}


class Node(Section):
    """One server. Its id says region, provider and n; ``number`` is its tunnel number for life."""

    number: Annotated[int, Field(ge=1, le=9999)]
    ipv6: bool = True


class Addresses(Section):
    """A host address of each family."""

    ipv4: IPv4Address
    ipv6: IPv6Address | None = None


class Ports(Section):
    """Ports that the firewall opens for a service."""

    tcp: tuple[Port, ...] = ()
    udp: tuple[Port, ...] = ()


class Check(Section):
    """A health check that a node makes of its own instance; seconds, and answers in a row."""

    kind: Literal["http", "tcp"]
    port: Port
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=200)] = "/"
    interval: Annotated[float, Field(ge=0.1, le=60)] = 0.5
    timeout: Annotated[float, Field(ge=0.1, le=60)] = 1.0
    rise: Annotated[int, Field(ge=1, le=20)] = 2
    fall: Annotated[int, Field(ge=1, le=20)] = 2


class Service(Section):
    """An anycast service; every node serves it unless ``nodes`` names some."""

    addresses: Addresses
    ports: Ports
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    nodes: tuple[NodeId, ...] | None = None


SECTIONS: dict[str, Any] = {
    "asn": Annotated[int, Field(ge=1, le=4294967295)],
    "prefixes": Prefixes,
    "tunnels": Tunnels,
    "admin": Admin,
    "registry": Registry,
    "regions": Annotated[dict[RegionId, Region], Field(min_length=1)],
    "nodes": Annotated[dict[NodeId, Node], Field(min_length=1)],
    "reflectors": Annotated[tuple[NodeId, ...], Field(min_length=1)],
    "registries": Annotated[tuple[NodeId, ...], Field(min_length=1)],
    "services": dict[Name, Service],
    "whoami": bool,
    "protect": bool,
    "without": tuple[NodeId, ...],
}
"""Every key of the stack file under ``mesh:`` and its type; secrets and ``twin`` stand apart."""

DEFAULTS: dict[str, Any] = {
    "registry": Registry(),
    "services": {},
    "whoami": True,
    "protect": True,
    "without": (),
}
"""Keys that may be left out."""


class Spec(Section):
    """A whole stack file whose keys have been checked, alone and together."""

    stack: str
    twin: str | None
    asn: int
    prefixes: Prefixes
    tunnels: Tunnels
    admin: Admin
    registry: Registry
    regions: dict[str, Region]
    nodes: dict[str, Node]
    reflectors: tuple[str, ...]
    registries: tuple[str, ...]
    services: dict[str, Service]
    whoami: bool
    protect: bool
    """Whether addresses and the operator's key are protected from deletion; False to end a
    network: ``pulumi destroy --run-program -c mesh:protect=false``."""
    without: tuple[str, ...]
