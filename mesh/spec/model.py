"""The stack file as typed models: the type of each key.

Checks across keys (a slot inside its region, a node in a slot) are in :mod:`mesh.spec.checks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag, create_model

from mesh.limits import GLASS_PORT
from mesh.operating_systems import OperatingSystem
from mesh.services.checks import Check
from mesh.services.checks.check import Port, Whole
from mesh.services.service import Kind, Ports
from mesh.spec.alerting import Receiver
from mesh.spec.ids import LONGEST
from mesh.spec.providers import PROVIDERS
from mesh.spec.section import Section, Sections
from mesh.spec.traffic import RawCommunity, TrafficRule
from mesh.spec.types import (
    Addresses4,
    Addresses6,
    Location,
    Network4,
    Network6,
    NetworkAny,
    Slot,
)
from mesh.spec.vrps import RtrServer, VrpDemand

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=32)]
"""A name of at most 32 small letters, digits and hyphens, a letter first."""
RegionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]{1,7}$")]
"""A region's id: two to eight small letters and digits, a letter first."""
SlotName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*-[1-9][0-9]?$")]
"""A slot's name: ``<provider>-<n>``, with n from 1 to 99."""
NodeId = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9]*-[a-z][a-z0-9]*-[1-9][0-9]?$", max_length=LONGEST),
]
"""A node's id: ``<region>-<provider>-<n>``, at most 24 characters, with n from 1 to 99."""


Where = Annotated[tuple[Annotated[str, StringConstraints(max_length=64)], ...], Field(min_length=1)]
"""Regions and nodes, by their ids."""


class AnnouncedPrefix4(Section):
    """An IPv4 prefix, and where it is announced."""

    prefix: Network4
    announced_by: Annotated[Where | None, Field(alias="announcedBy")] = None


class AnnouncedPrefix6(Section):
    """The same in IPv6."""

    prefix: Network6
    announced_by: Annotated[Where | None, Field(alias="announcedBy")] = None


def _form(value: Any) -> str:
    """Whether a value of ``mesh:prefixes`` is a list, a map or a prefix."""
    if isinstance(value, list | tuple):
        return "(list)"
    return "(map)" if isinstance(value, dict | Section) else "(prefix)"


_Entry4 = Annotated[
    Annotated[Network4, Tag("(prefix)")] | Annotated[AnnouncedPrefix4, Tag("(map)")],
    Discriminator(_form),
]
_Entry6 = Annotated[
    Annotated[Network6, Tag("(prefix)")] | Annotated[AnnouncedPrefix6, Tag("(map)")],
    Discriminator(_form),
]
Aggregates4 = Annotated[
    Annotated[Network4, Tag("(prefix)")]
    | Annotated[AnnouncedPrefix4, Tag("(map)")]
    | Annotated[tuple[_Entry4, ...], Field(min_length=1), Tag("(list)")],
    Discriminator(_form),
]
"""An IPv4 prefix, or a list of them. An entry is a prefix, or a map of ``prefix`` and
``announcedBy``, which lists the regions and nodes that announce it:
``{prefix: 192.30.124.0/24, announcedBy: [lax, ewr-vultr-1]}``. Without ``announcedBy`` every edge
announces it. Nodes have addresses of the first prefix of each family."""
Aggregates6 = Annotated[
    Annotated[Network6, Tag("(prefix)")]
    | Annotated[AnnouncedPrefix6, Tag("(map)")]
    | Annotated[tuple[_Entry6, ...], Field(min_length=1), Tag("(list)")],
    Discriminator(_form),
]
"""An IPv6 prefix, or a list of them, as for IPv4."""


class MoreSpecific(Section):
    """A part of an aggregate that is also announced by itself, at some places."""

    prefix: NetworkAny
    """A longer prefix inside one of the aggregates, at most a /24 or /48."""
    announced_by: Annotated[Where, Field(alias="announcedBy")]
    """The regions and nodes that announce it; while none of them does, its packets follow the
    aggregate."""


class Prefixes(Section):
    """The aggregates that are announced to the Internet."""

    every4: Annotated[Aggregates4 | None, Field(alias="ipv4")] = None
    """The IPv4 prefixes that are announced, each a /24 or shorter; without any the network has IPv6
    only."""
    every6: Annotated[Aggregates6 | None, Field(alias="ipv6")] = None
    """The IPv6 prefixes that are announced, each a /48 or shorter; without any the network has IPv4
    only."""
    more_specifics: Annotated[tuple[MoreSpecific, ...], Field(alias="moreSpecifics")] = ()
    """Parts of these aggregates that are announced beside them at some places only."""

    @property
    def ipv4(self) -> IPv4Network | None:
        """The first IPv4 prefix, of which the nodes have addresses."""
        if self.every4 is None:
            return None
        first = _entries(self.every4)[0]
        return first.prefix if isinstance(first, AnnouncedPrefix4) else first

    @property
    def ipv6(self) -> IPv6Network | None:
        """The first IPv6 prefix."""
        if self.every6 is None:
            return None
        first = _entries(self.every6)[0]
        return first.prefix if isinstance(first, AnnouncedPrefix6) else first


def _entries(value: Any) -> tuple[Any, ...]:
    """The entries of a family's list, or its only one."""
    return value if isinstance(value, tuple) else (value,)


class BfdTimers(Section):
    """How fast BFD detects that a tunnel is down (RFC 5880)."""

    interval: Annotated[Whole, Field(ge=50, le=5000)] = 150
    """Milliseconds between two BFD packets."""
    multiplier: Annotated[Whole, Field(ge=2, le=20)] = 3
    """The number of missing BFD packets in a row after which the tunnel is down."""


class Tunnels(Section):
    """The WireGuard tunnels between the nodes, and their addresses."""

    ipv4: Network4
    """Private IPv4 range of the tunnel addresses: node number 7 has the address number 7 in it."""
    ipv6: Network6
    """Private IPv6 range of the tunnel addresses: node number 17 has the address ``::17`` in it."""
    port: Port = 51820
    """UDP port at which every node listens for node number 1; for node number 2 it is the next
    one, and so on."""
    full_mesh: Annotated[Whole, Field(ge=2, le=64, alias="fullMesh")] = 32
    """The number of nodes up to which every node has a tunnel to every other one; in a larger
    network a node has tunnels to its own region and to all reflectors."""
    bfd: BfdTimers = BfdTimers.model_construct()
    """BFD timers of all tunnels."""
    links: dict[str, BfdTimers] = Field(default={})
    """BFD timers of single tunnels in place of ``bfd``, each named by its two nodes, as
    ``lax-vultr-1:ord-vultr-1``."""


class Admin(Section):
    """Who may log in to the nodes over SSH."""

    ssh: tuple[NetworkAny, ...]
    """Networks from which SSH is let in, at least one."""
    keys: tuple[str, ...] = ()
    """SSH public keys that may log in, each as one line of a ``.pub`` file; a preview needs at
    least two, so that a lost key locks nobody out."""
    world: bool = False
    """Allows networks in ``ssh`` that are a large part of the Internet (IPv4 shorter than /8, IPv6
    shorter than /16)."""


class Registry(Section):
    """The registry, from which nodes fetch their configuration."""

    port: Port = 8443
    """TCP port of the registry."""
    sources: tuple[NetworkAny, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    """Networks that may reach the registry; planned nodes may always do so, from their own
    addresses."""


class Region(Section):
    """A city or data centre, with a /29 of host addresses for the nodes there; in a network with
    IPv6 only, with a host number for each."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """Name of the place, for display."""
    block: Network4 | None = None
    """The region's host addresses: a /29 inside ``mesh:prefixes.ipv4`` that overlaps no other
    region's; there is none in a network with IPv6 only."""
    location: Location
    """Latitude and longitude in degrees; what a tunnel costs grows with the distance between two
    regions."""
    slots: dict[SlotName, Slot] = Field(default={})
    """Host address of each node in the region, out of ``block``; the node ``lax-vultr-1`` has the
    slot ``vultr-1`` of the region ``lax``; with IPv6 only, a host number of the node's own: 17 is
    the address ``::17`` in ``mesh:prefixes.ipv6``."""
    at: dict[Name, str] = Field(default={})
    """What a provider calls this place, by the provider's name; needed where that is not the
    region's id and the provider's table in ``mesh/spec/providers`` does not have it."""


HostKey = Annotated[
    str, StringConstraints(pattern=r"^(ssh-ed25519|ecdsa-sha2-nistp256|ssh-rsa) [A-Za-z0-9+/=]+$")
]
"""A public key as ``ssh-keyscan`` prints it, without the address: ``ssh-ed25519``,
``ecdsa-sha2-nistp256`` or ``ssh-rsa``, a space, and the key in base64."""


class Ssh(Section):
    """How the operator reaches an existing host; one of ``hostKeys`` and ``trustFirst`` is
    needed."""

    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    """The user that logs in: root, or one with ``sudo``, on OpenBSD ``doas``, without a
    password."""
    port: Port = 22
    """TCP port of the host's SSH server."""
    host_keys: Annotated[tuple[HostKey, ...], Field(alias="hostKeys")] = ()
    """The host's public keys, by which it is identified."""
    trust_first: Annotated[bool, Field(alias="trustFirst")] = False
    """Takes the key that the host shows at the first connection, and no other one afterwards."""


Import = Literal["none", "default", "full"]
"""What is taken from upstreams: nothing, the default route, or a full table; never into the
kernel."""


class MaxPrefixes(Section):
    """How many prefixes an upstream session may bring, and what happens to the next one."""

    ipv4: Annotated[Whole, Field(ge=1, le=10_000_000)] = 1_500_000
    """The most prefixes that an IPv4 session may bring."""
    ipv6: Annotated[Whole, Field(ge=1, le=10_000_000)] = 500_000
    """The most prefixes that an IPv6 session may bring."""
    action: Literal["block", "restart"] = "block"
    """What happens above the limit: ``block`` ignores further prefixes and keeps the session, and
    with it our own announcement; ``restart`` ends the session and tries again (RFC 4486)."""


class Routing(Section):
    """What nodes take from their upstreams."""

    take: Annotated[Import, Field(alias="import")] = "none"
    """Which routes nodes take from upstreams: none, a default route, or a full table; they never
    enter the kernel."""
    ixp_lans: Annotated[tuple[NetworkAny, ...], Field(alias="ixpLans")] = ()
    """Peering LANs of exchanges, which are refused from upstreams, as are longer prefixes of
    them."""
    max_prefixes: Annotated[MaxPrefixes, Field(alias="maxPrefixes")] = MaxPrefixes.model_construct()
    """Limits of what an upstream session may bring."""


BlackholeCommunity = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,10}:[0-9]{1,10}(:[0-9]{1,10})?$")
]
"""A community as text: two or three numbers with colons between them."""


class HostUpstream(Section):
    """The eBGP session of an existing host with its provider, as the provider's panel shows it."""

    peer_asn: Annotated[Whole, Field(ge=1, le=4294967295, alias="peerAsn")]
    """The neighbor's ASN."""
    ipv4: IPv4Address | None = None
    """The neighbor's address for the IPv4 session; at least one of ``ipv4`` and ``ipv6`` is
    needed."""
    ipv6: IPv6Address | None = None
    """The neighbor's address for the IPv6 session, which starts from the host's ``ipv6``."""
    multihop: Annotated[Whole, Field(ge=1, le=255)] | None = None
    """How many hops away the neighbor may be; without it, it has to be on the host's own link."""
    password: bool = False
    """Whether the sessions use TCP MD5 (RFC 2385) with the secret
    ``mesh:bgpPassword-<provider>``."""
    role: Literal["provider", "peer", "routeServer"] = "provider"
    """What the neighbor is to us (RFC 9234): a provider of transit, a peer, or the route server of
    an exchange."""
    blackhole: BlackholeCommunity | None = None
    """The community by which the neighbor discards packets to one address of ours: its ASN and 666
    at most providers, or 65535:666 (RFC 7999)."""


class LocalAddresses(Section):
    """The node's own addresses of a session; with their length, as ``198.51.100.2/30``, a neighbor
    outside that subnet is refused."""

    ipv4: IPv4Interface | None = None
    """The node's address of the IPv4 session."""
    ipv6: IPv6Interface | None = None
    """The node's address of the IPv6 session."""


InterfaceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$")]
"""An interface's name: at most 15 letters, digits, dots, hyphens and underscores."""


class NodeUpstream(Section):
    """The eBGP sessions of a node with one neighbor: a transit, a peer, or a route server of an
    exchange."""

    name: Name
    """The session's name, which no other one of the node has."""
    asn: Annotated[Whole, Field(ge=1, le=4294967295)]
    """The neighbor's ASN."""
    ipv4: IPv4Address | None = None
    """The neighbor's address for the IPv4 session; at least one of ``ipv4`` and ``ipv6`` is
    needed."""
    ipv6: IPv6Address | None = None
    """The neighbor's address for the IPv6 session; a link-local one needs ``interface``."""
    local: LocalAddresses = LocalAddresses.model_construct()
    """The node's own addresses of the sessions; without them a session with ``interface`` has the
    one of that interface, any other one the node's main address."""
    interface: InterfaceName | None = None
    """The interface on whose link the neighbor is: of a transit's /30, a VLAN, an exchange's LAN;
    you configure it and its addresses on the server yourself."""
    password: bool = False
    """Whether the sessions use TCP MD5 (RFC 2385) with the secret
    ``mesh:bgpPassword-<node>-<name>``, or without that one with ``mesh:bgpPassword-<provider>``."""
    hold_time: Annotated[Whole, Field(ge=3, le=65535, alias="holdTime")] = 30
    """The hold time that we propose, in seconds; the smaller one of both sides is used."""
    ttl_security: Annotated[bool, Field(alias="ttlSecurity")] = False
    """Whether both sides send with a TTL of 255 and accept no packet that has come farther (GTSM,
    RFC 5082)."""
    bfd: bool = False
    """Whether BFD (RFC 5880) detects that the neighbor is gone: 300 ms, three missing packets."""
    multihop: Annotated[Whole, Field(ge=1, le=255)] | None = None
    """How many hops away the neighbor may be; without it, it has to be on the same link."""
    role: Literal["provider", "peer", "routeServer"] = "provider"
    """What the neighbor is to us (RFC 9234): a provider of transit, a peer, or the route server of
    an exchange."""
    take: Annotated[Import | None, Field(alias="import")] = None
    """Which routes are taken from the neighbor; without it, the node's ``import`` counts."""
    local_preference: Annotated[
        Annotated[Whole, Field(ge=1, le=4294967295)] | None, Field(alias="localPreference")
    ] = None
    """Local preference of the routes that the sessions import, unless a rule of ``mesh:traffic``
    sets it."""
    limit: Annotated[Whole, Field(ge=1, le=10_000_000)] | None = None
    """The most prefixes that each session may bring; without it, ``mesh:routing.maxPrefixes``
    counts."""
    communities: tuple[RawCommunity, ...] = ()
    """Communities that are sent with our prefixes, as the neighbor documents them."""
    blackhole: BlackholeCommunity | None = None
    """The community by which the neighbor discards packets to one address of ours: its ASN and 666
    at most providers, or 65535:666 (RFC 7999)."""


class Host(Section):
    """A server that exists already, and is reached over SSH."""

    ipv4: IPv4Address
    """The host's main public IPv4 address, as its provider gave it."""
    ipv6: IPv6Address | None = None
    """The host's main public IPv6 address."""
    ssh: Ssh = Ssh.model_construct()
    """How the operator reaches the host."""
    upstream: HostUpstream | None = None
    """The host's eBGP session with its provider; without it the node announces nothing, unless its
    provider is one whose session is known."""


class Node(Section):
    """One server."""

    number: Annotated[Whole, Field(ge=1, le=9999)]
    """The node's tunnel number, which was never given to another node: its tunnel addresses and
    ports follow from it."""
    os: OperatingSystem = OperatingSystem.DEBIAN
    """The node's operating system: a node with ``openbsd`` announces and serves as any other edge,
    and is no reflector, registry or monitor (``docs/openbsd.md`` has what else is different)."""
    ipv6: bool = True
    """Whether the node uses IPv6, in a network that has an IPv6 prefix."""
    announce: bool | None = None
    """``false`` keeps the node from announcing the aggregates; without it, the node announces where
    its provider takes announcements."""
    plan: str | None = None
    """The server's size by its provider's name for it; without it, ``plan`` of the provider's
    options counts."""
    bare_metal: Annotated[bool, Field(alias="bareMetal")] = False
    """Whether the server is a physical one; at Vultr only."""
    host: Host | None = None
    """The server, where it exists already; without it, the provider's API makes one."""
    take: Annotated[Import | None, Field(alias="import")] = None
    """Which routes this node takes from its upstream; without it, ``mesh:routing.import``
    counts."""
    upstreams: tuple[NodeUpstream, ...] = ()
    """The node's sessions beside the one of its provider or of ``host.upstream``: with transits,
    with peers, and with route servers of exchanges."""


class Addresses(Section):
    """The addresses of a service, of one family or both."""

    every4: Addresses4 = Field(default=(), alias="ipv4")
    """The service's IPv4 addresses, one or several: inside ``mesh:prefixes.ipv4``, and outside
    every region's ``block``."""
    every6: Addresses6 = Field(default=(), alias="ipv6")
    """The service's IPv6 addresses, one or several: inside ``mesh:prefixes.ipv6``, and none that
    belongs to a region."""

    def all(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """All of them, IPv4 first."""
        return (*self.every4, *self.every6)


UnitName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9:_.@-]*\.service$", max_length=64)
]
"""The name of a systemd unit, as ``caddy.service``."""
HostName = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        max_length=253,
    ),
]
"""A host name in small letters, as ``www.example.net``; letters of other alphabets as in DNS,
``xn--…``."""
Folder = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"),
]
"""A directory beside the stack file, as ``site`` or ``services/site``: no ``..``, no name that
begins with a dot, no ``/`` at its beginning."""


class Service(Section):
    """An anycast service."""

    kind: Kind | None = None
    """What answers at its addresses: ``web`` is nginx and ``dns`` is NSD, which the nodes set up by
    themselves; ``external`` is a daemon or container of your own; ``whoami`` says the node's name;
    without a kind whoami has port 80 of every address of the nodes."""
    addresses: Addresses
    """The addresses at which clients reach the service."""
    ports: Ports | None = None
    """The ports that the firewall opens for it, to everybody and at every announced address: none
    at which nodes listen themselves, as 22 and 179; needed for ``external`` and without a kind, TCP
    80 for ``web`` and ``whoami``, TCP and UDP 53 for ``dns``."""
    checks: Annotated[tuple[Check, ...], Field(min_length=1)] | None = None
    """Health checks, all of which have to be good before a node serves the addresses; needed for
    ``external`` and without a kind, else ``http`` on ``/whoami`` for ``web`` and ``whoami``, the
    SOA record of the first zone for ``dns``."""
    nodes: Annotated[tuple[NodeId, ...], Field(min_length=1)] | None = None
    """The nodes that may serve it; without it, all of them."""
    content: Folder | None = None
    """A directory beside the stack file, with the pages of a ``web`` service or the zones of a
    ``dns`` service, each as ``<zone>.zone``; needed for both."""
    names: Annotated[tuple[HostName, ...], Field(min_length=1)] | None = None
    """The host names of a ``web`` service, any other one gets 404 (but for ``/whoami``); without
    it, it answers to every name."""
    unit: UnitName | None = None
    """The systemd unit of an ``external`` service, whose state the node's reports show; it is never
    started, stopped or restarted."""

    @property
    def open_ports(self) -> Ports:
        """The ports that the firewall opens."""
        return self.ports or PORTS.get(self.kind, Ports())


PORTS: dict[Kind | None, Ports] = {
    "web": Ports(tcp=(80,)),
    "whoami": Ports(tcp=(80,)),
    "dns": Ports(tcp=(53,), udp=(53,)),
}
"""The ports of the kinds that nodes set up by themselves."""


class Rpki(Section):
    """Validation by the RPKI: of our own announcements, and of what upstreams announce."""

    # RTR and http:// do not authenticate the server: they are for a trusted network (RFC 8210,
    # section 7), and http:// from another machine gives a warning. A twin does not take over
    # `demand`, since its prefixes are not on the Internet, nor `local`, since it cannot fetch the
    # RPKI.
    demand: VrpDemand | None = None
    """A list of VRPs by which every aggregate has to be Valid (RFC 6811), or a preview and an
    update stop; a twin demands only what its own file names, and ``mesh destroy`` demands
    nothing."""
    servers: tuple[RtrServer, ...] = ()
    """Validators from which edges get the VRPs to validate the routes of a full table
    (RFC 8210)."""
    local: bool = False
    """Makes every reflector a validator as well (rpki-client and stayrtr of Debian, ROAs only),
    which fetches the whole RPKI by rsync and HTTPS; a twin leaves it out."""


class Glass(Section):
    """The looking glass of every node: pages and JSON that show sessions, routes and services."""

    enabled: bool = True
    """Whether the nodes run it."""
    port: Annotated[Whole, Field(ge=1024, le=65535)] = GLASS_PORT
    """TCP port of the looking glass at each node, 1024 or higher, since it runs without privileges;
    where this key is not written and a service or a
    listener of the nodes has 8080, there is no looking glass, with a warning."""
    public: bool = False
    """Whether everybody may read a reduced looking glass at the announced addresses, at most 20 new
    connections a second from each IPv4 address or IPv6 /64; without it, only the nodes themselves
    and the operator through SSH."""


class Monitoring(Section):
    """Prometheus and Alertmanager of Debian on nodes, which ask the looking glass of every node."""

    nodes: Annotated[tuple[NodeId, ...], Field(min_length=1, max_length=4)]
    """The nodes that run them, one to four; where there are several, each of them asks all nodes,
    and a receiver hears of an alert once."""
    receivers: dict[Name, Receiver] = Field(default={})
    """Whom alerts reach, by names of your choice; without any, alerts show in Prometheus and
    Alertmanager alone."""
    watchdog: Name | None = None
    """The receiver that is a dead man's switch outside the network: it gets the alert that always
    fires, every minute, and no other one, and has to raise an alarm when that stops."""
    retention: Annotated[Whole, Field(ge=1, le=3650)] = 15
    """Days for which Prometheus keeps what nodes have told it, of which it keeps at most 1 GB."""


class Drain(Section):
    """How a node leaves: by ``mesh drain``, or for an update that restarts its sessions."""

    linger: Annotated[Whole, Field(ge=0, le=600)] = 30
    """Seconds for which a node that has withdrawn still serves packets on their way to it, since
    the Internet takes tens of seconds to follow; a twin has 5 unless its own file says
    otherwise."""


_Options: dict[str, Any] = {
    name: (provider.options, provider.options.model_construct())
    for name, provider in PROVIDERS.items()
}

Providers: Any = create_model("Providers", __base__=Section, **_Options)
"""``mesh:providers``: each provider's own options, by its name."""


SECTIONS: dict[str, Any] = {
    "asn": Annotated[Whole, Field(ge=1, le=4294967295)],
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
    "glass": Glass,
    "traffic": tuple[TrafficRule, ...],
    "monitoring": Monitoring,
    "waves": bool,
    "drain": Drain,
    "whoami": bool,
    "protect": bool,
    "without": tuple[NodeId, ...],
}
"""Every key of the stack file under ``mesh:`` and its type, without secrets and ``twin``."""

DEFAULTS: dict[str, Any] = {
    "registry": Registry.model_construct(),
    "providers": Providers.model_construct(),
    "services": {},
    "routing": Routing.model_construct(),
    "rpki": Rpki.model_construct(),
    "glass": Glass.model_construct(),
    "traffic": (),
    "monitoring": None,
    "waves": True,
    "drain": Drain.model_construct(),
    "whoami": True,
    "protect": True,
    "without": (),
}
"""Optional keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A whole stack file whose keys have been checked, alone and together."""

    stack: str
    twin: str | None
    """Makes this stack a copy, in the lab on one machine, of the stack that it names: the other
    keys of this file are merged into the original's maps and replace its other values."""
    asn: int
    """The network's own ASN, a public one."""
    prefixes: Prefixes
    tunnels: Tunnels
    admin: Admin
    registry: Registry
    regions: dict[str, Region]
    """Cities or data centres by their ids, each with the host addresses of its nodes."""
    providers: Any
    """The options of each provider, by its name."""
    nodes: dict[str, Node]
    """The servers by their ids: ``lax-vultr-1`` is in the region ``lax``, at the provider
    ``vultr``, and has the slot ``vultr-1`` there."""
    reflectors: tuple[str, ...]
    """Nodes that are route reflectors for iBGP (RFC 4456); two in different regions are better than
    one."""
    registries: tuple[str, ...]
    """Nodes that run a registry, from which all nodes fetch their configuration."""
    services: dict[str, Service]
    """The anycast services by their names."""
    routing: Routing
    rpki: Rpki
    glass: Glass
    traffic: tuple[TrafficRule, ...]
    """Rules that ask upstreams to bring more or less traffic at some nodes."""
    monitoring: Monitoring | None
    waves: bool
    """Whether an update reaches some nodes after others, and stops where one is worse for it;
    without, it reaches all nodes at the same moment."""
    drain: Drain
    whoami: bool
    """Whether every node answers ``GET /whoami`` on port 80 with its name."""
    protect: bool
    """Whether addresses and the operator's key are protected from deletion; ``mesh destroy`` ends a
    network without changing this, and a twin has it from its own file alone."""
    without: tuple[str, ...]
    """Nodes that an update does not wait for, because they cannot join now."""

    @property
    def sections(self) -> Sections:
        """The keys under ``mesh:`` with their values, as checks take them."""
        return {key: getattr(self, key) for key in SECTIONS}
