"""The stack file as typed models: the shape of each key, and nothing about their meaning together.

What keys mean together (a slot inside its region, a node in a slot) is :mod:`mesh.spec.meaning`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, create_model

from mesh.spec.providers import PROVIDERS
from mesh.spec.section import Section
from mesh.spec.traffic import Rule
from mesh.spec.types import Network4, Network6, NetworkAny
from mesh.spec.vrps import RtrServer, VrpDemand

Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=32)]
RegionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,7}$")]
SlotName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*-[1-9][0-9]?$")]
NodeId = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9]*-[a-z][a-z0-9]*-[1-9][0-9]?$", max_length=12)
]


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
    bfd: BfdTimers = BfdTimers.model_construct()
    links: dict[str, BfdTimers] = Field(default={})


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
    slots: dict[SlotName, IPv4Address] = Field(default={})
    at: dict[Name, str] = Field(default={})
    """What a provider calls this place, where its own table does not say so: by provider."""


HostKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) [A-Za-z0-9+/=]+$")
]


class Ssh(Section):
    """How an existing host is reached. ``hostKeys`` are its public keys as ``ssh-keyscan`` prints
    them, without the address; ``trustFirst`` takes the key that is shown at the first connection,
    and no other one ever after."""

    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    port: Port = 22
    host_keys: Annotated[tuple[HostKey, ...], Field(alias="hostKeys")] = ()
    trust_first: Annotated[bool, Field(alias="trustFirst")] = False


Import = Literal["none", "default", "full"]
"""What is taken from upstreams: nothing, the default route, or a full table; never into the
kernel."""


class MaxPrefixes(Section):
    """How many prefixes an upstream session may bring, and what happens to the next one.

    ``block`` passes over what is above the limit and keeps the session, and with it our own
    announcement; ``restart`` ends the session and tries again (RFC 4486).
    """

    ipv4: Annotated[int, Field(ge=1, le=10_000_000)] = 1_500_000
    ipv6: Annotated[int, Field(ge=1, le=10_000_000)] = 500_000
    action: Literal["block", "restart"] = "block"


class Routing(Section):
    """What nodes believe of upstreams. ``ixpLans`` are peering LANs, which nobody outside has to
    announce to us."""

    take: Annotated[Import, Field(alias="import")] = "none"
    ixp_lans: Annotated[tuple[NetworkAny, ...], Field(alias="ixpLans")] = ()
    max_prefixes: Annotated[MaxPrefixes, Field(alias="maxPrefixes")] = MaxPrefixes.model_construct()


class HostUpstream(Section):
    """The eBGP session of an existing host, as its provider's panel shows it. ``role`` is what the
    neighbour is to us (RFC 9234); ``blackhole`` is the community with which it discards what is for
    one address of ours, ``<its ASN>:666`` at most providers (RFC 7999)."""

    peer_asn: Annotated[int, Field(ge=1, le=4294967295, alias="peerAsn")]
    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    multihop: Annotated[int, Field(ge=1, le=255)] | None = None
    password: bool = False
    role: Literal["provider", "peer", "routeServer"] = "provider"
    blackhole: (
        Annotated[str, StringConstraints(pattern=r"^[0-9]{1,10}:[0-9]{1,10}(:[0-9]{1,10})?$")]
        | None
    ) = None


class Host(Section):
    """A server that exists already: its main addresses, SSH access and upstream session."""

    ipv4: IPv4Address
    ipv6: IPv6Address | None = None
    ssh: Ssh = Ssh.model_construct()
    upstream: HostUpstream | None = None


class Node(Section):
    """One server. Its id says region, provider and n; ``number`` is its tunnel number for life.

    ``announce`` is unsaid for what the provider can do; False keeps a node from ever announcing.
    ``plan`` is the server's size by the provider's name, where it is not the provider's default.
    ``import`` is what it takes from its upstream, where not what ``mesh:routing`` says.
    """

    number: Annotated[int, Field(ge=1, le=9999)]
    ipv6: bool = True
    announce: bool | None = None
    plan: str | None = None
    bare_metal: Annotated[bool, Field(alias="bareMetal")] = False
    host: Host | None = None
    take: Annotated[Import | None, Field(alias="import")] = None


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


class Rpki(Section):
    """What is asked of the RPKI (RFC 6811).

    ``demand`` names a list of VRPs (a file, https://, rtr://host:port) by which every aggregate has
    to be Valid before anything changes. Of RTR and http:// nothing proves who says so: they are for
    a network that is trusted (RFC 8210, section 7), and http:// from another machine is warned of.
    A twin does not take it over: its prefixes go nowhere, and no packet of it leaves the machine;
    it demands only what it names itself. Nor does a network that ends (``mesh destroy``, or
    ``mesh:protect: false``) demand anything. ``servers`` are validators (``rtr://host:port``) by
    whose records edges judge what upstreams say (RFC 8210).

    ``local`` makes every reflector a validator of the network's own, beside those: rpki-client and
    stayrtr from Debian. Each fetches all of the RPKI (rsync and HTTPS to the whole world). These
    serve ROAs; for ASPA records (version 2 of RTR) another server has to be named. A twin does not
    take it over either: there is no world that it could fetch from.
    """

    demand: VrpDemand | None = None
    servers: tuple[RtrServer, ...] = ()
    local: bool = False


_Options: dict[str, Any] = {
    name: (provider.options, provider.options.model_construct())
    for name, provider in PROVIDERS.items()
}

Providers: Any = create_model("Providers", __base__=Section, **_Options)
"""``mesh:providers``: each provider's own options, by its name."""


SECTIONS: dict[str, Any] = {
    "asn": Annotated[int, Field(ge=1, le=4294967295)],
    "prefixes": Prefixes,
    "tunnels": Tunnels,
    "admin": Admin,
    "registry": Registry,
    "regions": Annotated[dict[RegionId, Region], Field(min_length=1)],
    "providers": Providers,
    "nodes": Annotated[dict[NodeId, Node], Field(min_length=1)],
    "reflectors": Annotated[tuple[NodeId, ...], Field(min_length=1)],
    "registries": Annotated[tuple[NodeId, ...], Field(min_length=1)],
    "services": dict[Name, Service],
    "routing": Routing,
    "rpki": Rpki,
    "traffic": tuple[Rule, ...],
    "whoami": bool,
    "protect": bool,
    "without": tuple[NodeId, ...],
}
"""Every key of the stack file under ``mesh:`` and its type; secrets and ``twin`` stand apart."""

DEFAULTS: dict[str, Any] = {
    "registry": Registry.model_construct(),
    "providers": Providers.model_construct(),
    "services": {},
    "routing": Routing.model_construct(),
    "rpki": Rpki.model_construct(),
    "traffic": (),
    "whoami": True,
    "protect": True,
    "without": (),
}
"""Keys that may be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole stack file whose keys have been checked, alone and together."""

    stack: str
    twin: str | None
    asn: int
    prefixes: Prefixes
    tunnels: Tunnels
    admin: Admin
    registry: Registry
    regions: dict[str, Region]
    providers: Any
    """The options of each provider, by its name as attribute."""
    nodes: dict[str, Node]
    reflectors: tuple[str, ...]
    registries: tuple[str, ...]
    services: dict[str, Service]
    routing: Routing
    rpki: Rpki
    traffic: tuple[Rule, ...]
    whoami: bool
    protect: bool
    """Whether addresses and the operator's key are protected from deletion. A network is ended by
    ``mesh destroy``, which leaves this as it is."""
    without: tuple[str, ...]
