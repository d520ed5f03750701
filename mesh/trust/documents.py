"""The documents that operator, registries and nodes exchange.

Frozen dataclasses, parsed before use. A node's part is parsed strictly: an unknown key is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from mesh.limits import MAX_BLACKHOLES, MAX_CONTENT_BYTES, MAX_CONTENT_FILES, MAX_CONTENTS
from mesh.trust.envelopes import Box, Signed

_STRICT = ConfigDict(extra="forbid")
# An unknown key of a later version is ignored: an older bundle has to find in the manifest which
# bundle replaces it, and relays documents that are not for itself.
_LENIENT = ConfigDict(extra="ignore")

NodeId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
Text = Annotated[str, StringConstraints(max_length=4096)]
MAX_NUMBER = 2**53 - 1
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
MAX_NETWORK = 64
Network = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NETWORK)]
# Absolute, without ``..``.
FilePath = Annotated[
    str, StringConstraints(pattern=r"^(/[A-Za-z0-9_@][A-Za-z0-9._@-]*)+$", max_length=255)
]
# Of systemd, or a service of ours of OpenBSD's rc.d.
Unit = Annotated[
    str,
    StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9@._-]*\.service|anycast_mesh_[a-z0-9_]+)$"),
]
_MODES = (0o600, 0o640, 0o644, 0o700, 0o750, 0o755)


def _mode(value: int) -> int:
    """Writable by the owner only, without special bits."""
    if value not in _MODES:
        raise ValueError("not a mode that a file of a generation may have")
    return value


Mode = Annotated[int, AfterValidator(_mode)]
Group = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]


@dataclass(frozen=True, slots=True)
class PublicFile:
    """A file of a node that holds no secret. ``mode`` is permission bits; the owner is root."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    path: FilePath
    content: str
    mode: Mode
    group: Group


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file whose content only the node can read."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    path: FilePath
    box: Box
    mode: Mode
    group: Group


@dataclass(frozen=True, slots=True)
class Part:
    """One node's share of a generation: its files, the units that run, its sealed files."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    node: NodeId
    files: tuple[PublicFile, ...]
    units: tuple[Unit, ...]
    sealed: tuple[SealedFile, ...]


@dataclass(frozen=True, slots=True)
class PartOwner:
    """What a registry reads of a part: the node that it is for."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    node: NodeId


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """A node in the manifest: the hash of its part, and its Ed25519 identity. ``sealed_in`` is the
    generation that the part was first sealed for, where that was an earlier one (its content comes
    back); None for this one."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    part_sha256: Hash
    identity: Key
    sealed_in: Number | None = None


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A registry, and the hash of its certificate."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    url: Annotated[str, StringConstraints(pattern=r"^https://[0-9A-Za-z.:\[\]-]+$", max_length=128)]
    tls_sha256: Hash | None


@dataclass(frozen=True, slots=True)
class ContentEntry:
    """An artefact in the manifest: its bytes, and how many files are in it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    size: Annotated[int, Field(ge=1, le=MAX_CONTENT_BYTES)]
    files: Annotated[int, Field(ge=0, le=MAX_CONTENT_FILES)]


@dataclass(frozen=True, slots=True)
class Manifest:
    """A generation, numbered and signed by the operator.

    ``nonce`` is fresh for each generation; the nodes' reports contain it. ``retired``: the network
    is being taken down, and every node withdraws, the last announcer of a prefix included.
    ``contents`` are what the services serve, by the SHA-256 of the artefact. ``waves``: a node that
    has a generation in force applies this one when a rollout order releases it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    network: Network
    generation: Number
    nonce: Key
    bundle: Hash
    registries: tuple[RegistryEntry, ...]
    nodes: dict[NodeId, NodeEntry]
    views_sha256: Hash
    retired: bool = False
    contents: Annotated[dict[Hash, ContentEntry], Field(max_length=MAX_CONTENTS)] = field(
        default_factory=dict
    )
    waves: bool = False


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """The drained nodes: signed by the operator, and numbered apart from generations.

    Each order is complete: a node that it does not name is not drained. The highest valid number
    of a network counts; without an order (number 0) no node is drained.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    network: Network
    number: Number
    nodes: tuple[NodeId, ...]


MAX_HOLD = 4 * 3600
"""Longest hold, in seconds."""
MAX_HELD = 512
"""Nodes in one order."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A node on hold; ``until`` is seconds since the epoch by the node's clock."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    node: NodeId
    until: Number


@dataclass(frozen=True, slots=True)
class HoldOrder:
    """The nodes that repair and apply nothing: signed by the operator, with numbers of its own.

    Each order is complete: a node that it does not name is not on hold. A hold ends without a new
    order, at the latest MAX_HOLD after the node has received it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    network: Network
    number: Number
    holds: Annotated[tuple[Hold, ...], Field(max_length=MAX_HELD)]

    def until(self, node: str) -> int:
        """When the hold of a node ends; 0 if the order does not name it."""
        return max((hold.until for hold in self.holds if hold.node == node), default=0)


MAX_RELEASED, MAX_WITNESSES = 4096, 8
"""Nodes in one rollout order, and witnesses of one node."""


@dataclass(frozen=True, slots=True)
class RolloutOrder:
    """Which nodes may apply a generation with waves now: signed by the operator, with numbers of
    its own.

    Each order is complete: it names the nodes of all waves so far, in ``released``; with
    ``everyone`` all others follow as well. Those of ``drained`` drain themselves first, and end
    that drain once the generation is in force or rolled back. ``witnesses`` are, by node, the nodes
    that examine it while the order is in force (:class:`Witnessed`). A released node goes on
    whatever becomes of the operator.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    network: Network
    number: Number
    generation: Number
    manifest_sha256: Hash
    released: Annotated[tuple[NodeId, ...], Field(max_length=MAX_RELEASED)] = ()
    drained: Annotated[tuple[NodeId, ...], Field(max_length=MAX_RELEASED)] = ()
    everyone: bool = False
    witnesses: Annotated[
        dict[NodeId, Annotated[tuple[NodeId, ...], Field(max_length=MAX_WITNESSES)]],
        Field(max_length=MAX_RELEASED),
    ] = field(default_factory=dict)


MAX_REASON, MAX_REFUSAL_REASON = 200, 400
MAX_ALARMS, MAX_WAYS, MAX_HEARSAY, MAX_REFUSED, MAX_REFUSALS = 64, 256, 40, 48, 8
MAX_UPSTREAMS, MAX_DOWN, MAX_FAILURES, MAX_TUNNELS = 16, 48, 64, 64
MAX_FAULTS, MAX_CLOCKS, MAX_REPAIRS = 8, 16, 16
MAX_WITHHELD = 2 * MAX_UPSTREAMS
MAX_ACCESS, MAX_LOGINS = 8, 16
"""How many of them a report contains at most."""
MAX_ERROR = 120
"""Characters of an error in a report."""
ErrorText = Annotated[str, StringConstraints(max_length=MAX_ERROR)]
CLOCKS_DIFFER = 5.0
"""Smallest difference of two clocks that is reported, in seconds: HTTP's resolution is one."""
MAX_NAME = 64
Name = Annotated[str, StringConstraints(max_length=MAX_NAME)]


def _unscoped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Refuses a zone: it may contain any text, and this is written into files."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a zone")
    return address


def _unscoped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    _unscoped(network.network_address)
    return network


Prefix = Annotated[IPv4Network | IPv6Network, AfterValidator(_unscoped_network)]


@dataclass(frozen=True, slots=True)
class Blackhole:
    """An address whose packets are discarded ``until`` then (seconds since the epoch by the node's
    clock). ``forced``: also if a service has the address."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    address: Annotated[IPv4Address | IPv6Address, AfterValidator(_unscoped)]
    until: Number
    reason: Annotated[str, StringConstraints(max_length=MAX_REASON)]
    forced: bool = False


@dataclass(frozen=True, slots=True)
class BlackholeOrder:
    """The blackholed addresses: signed by the operator, with numbers of its own.

    Each order is complete: an address that it does not name is not discarded. An entry ends without
    a new order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    network: Network
    number: Number
    entries: Annotated[tuple[Blackhole, ...], Field(max_length=MAX_BLACKHOLES)]

    def in_force(self, now: float) -> tuple[Blackhole, ...]:
        """The entries that have not ended; ``now`` is seconds since the epoch."""
        return tuple(entry for entry in self.entries if entry.until > now)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A peer's announcement that violates the plan, by ``kind``; ``what`` is an example.

    Rejected routes: ``prefix`` (no node owns it), ``owner`` (the origin does not own it), ``link``
    (the path has a link that is not in the plan), ``service`` (the next hop may not serve it),
    ``flood`` (more routes than the plan has). Accepted: ``detour`` (the peer's own address is
    reached through other nodes although our session with it is up). ``order``: a blackhole that is
    not in the operator's order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    mate: NodeId
    kind: Annotated[str, StringConstraints(max_length=32)]
    what: Annotated[str, StringConstraints(max_length=200)]


@dataclass(frozen=True, slots=True)
class Hearsay:
    """An address that a node discards although only a peer, a route reflector, announces it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    address: Annotated[IPv4Address | IPv6Address, AfterValidator(_unscoped)]
    mate: NodeId


@dataclass(frozen=True, slots=True)
class Down:
    """A BGP session that is not Established: its last error, empty if BIRD has none, and ``since``
    when (seconds since the epoch by the node's clock, 0 if unknown)."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    error: ErrorText = ""
    since: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manifest or an order, signed with our operator's key, that a node does not follow.

    ``number`` is the generation's or the order's, 0 if it cannot be read; ``digest`` is the
    envelope's (:attr:`mesh.trust.envelopes.Signed.digest`). Agents report no ``hold`` yet: earlier
    versions could not read the report.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    what: Literal["manifest", "drain", "blackhole", "hold", "rollout"]
    number: Annotated[int, Field(ge=0, le=2**53 - 1)]
    digest: Hash
    reason: Annotated[str, StringConstraints(max_length=MAX_REFUSAL_REASON)]


LOGIN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$"
"""User names that are safe in a shell command."""
Login = Annotated[str, StringConstraints(pattern=LOGIN)]


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A generation that is in force and narrows who may log in: the node rolls it back unless
    somebody logs in anew before ``ends`` (microseconds since the epoch by the node's clock).

    ``lost`` is the access that it takes away; ``networks`` may log in, at one of ``ports``, for
    example as ``user``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    generation: Number
    ends: Number
    lost: Annotated[tuple[ErrorText, ...], Field(max_length=MAX_ACCESS)]
    networks: Annotated[tuple[Prefix, ...], Field(max_length=MAX_ACCESS)]
    ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(max_length=MAX_ACCESS)
    ]
    user: Login = "root"


@dataclass(frozen=True, slots=True)
class Used:
    """The last log-in (seconds since the epoch by the node's clock) from an admin's ``network``
    with a ``key``: its fingerprint, empty if none was used."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    network: Prefix
    key: Annotated[str, StringConstraints(max_length=MAX_NAME)]
    last: Number


@dataclass(frozen=True, slots=True)
class Repair:
    """An object that differed from the node's generation: ``what`` it is, ``why`` it was repaired
    last, how many ``times`` in the last ten minutes, and when ``last`` (seconds since the epoch by
    the node's clock). ``by`` is the process that changed it, empty if unknown. ``stopped``: it is
    changed again and again, and is not repaired for a while."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    what: Name
    why: ErrorText
    times: Annotated[int, Field(ge=0, le=2**53 - 1)]
    last: Annotated[int, Field(ge=0, le=2**53 - 1)]
    by: ErrorText = ""
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Repairs:
    """``count`` is the number of repairs since the agent started, ``objects`` those of the last ten
    minutes and those that are stopped, at most MAX_REPAIRS."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    count: Annotated[int, Field(ge=0, le=2**53 - 1)]
    objects: Annotated[tuple[Repair, ...], Field(max_length=MAX_REPAIRS)] = ()


MAX_WITNESSED, MAX_SEEN = 64, 24
"""Nodes that one node examines at most, and what it says of each."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What a node sees of another one that it examines during a rollout. ``rounds`` counts the
    examinations since the agent started; ``seen`` is what worked in the last one, for example
    ``tunnel ipv4`` or ``transit ipv6`` (:mod:`mesh.agent.witness`)."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    rounds: Annotated[int, Field(ge=0, le=2**53 - 1)]
    seen: Annotated[tuple[Name, ...], Field(max_length=MAX_SEEN)] = ()


Update = Literal["", "waiting", "draining", "applying"]
"""Where a node is in a rollout: nowhere, before its wave, in its own drain, or applying."""


@dataclass(frozen=True, slots=True)
class Health:
    """A node's state. ``in_service``: it announces. ``services``: those that it may serve, and
    whether it does. ``sessions``: BGP sessions by name, with BIRD's name of their state.
    ``tls_mismatches``: registries whose certificate is not the manifest's.

    ``drain`` is the number of the drain order applied last, 0 for none; ``drained``: the node has
    withdrawn by it and serves nothing. ``blackhole`` is the number of the blackhole order in force
    in the firewall and in BIRD. ``alarms`` are about peers, at most one of a kind for each peer.
    ``ways`` are the paths through other nodes in use for some time; each leads to its last node.
    ``hearsay`` is what the node discards although no order of the operator that it holds names it.
    ``refused`` counts rejected routes since the agent started, by reason. ``refusals`` are the
    manifests and orders with our operator's signature that registries offer now and that the node
    does not follow.

    The fields below are None in the report of an agent that does not have them. ``bird`` is empty
    if BIRD answers, otherwise the reason; ``sessions`` is empty then. ``announced`` are the
    Established upstream sessions by name, each with the aggregates that BIRD exports on it; None
    also if BIRD does not answer. ``down`` are the sessions that are not Established, at most
    MAX_DOWN. ``failures`` is why a service is down, by its name. ``tunnels`` is what is wrong with
    a WireGuard interface, by its name; those in order are left out. ``faults`` of the node and its
    agent: ``disk`` (nothing can be written), ``files`` (that cannot be written or restored),
    ``announce`` (BIRD does not run with the announce state), ``presence`` (services are not
    handled), and threads that have failed and were restarted. ``clocks``: registries whose clock
    differs, by URL, and the seconds by which the node's is ahead (negative if behind).
    ``unconfirmed`` is a generation that is rolled back unless somebody logs in. ``logins`` are the
    networks and keys of recent log-ins, the last one first. ``repairs``: changes of others that the
    node has undone. ``hold`` is the number of the hold order applied last, and ``held`` when the
    hold ends, by that order or by a command on the node (seconds since the epoch by the node's
    clock); 0 if the node is not on hold. ``withheld`` is why the node is not in service for a
    prefix, where prefixes come and go each by itself; at most MAX_WITHHELD. By service:
    ``families`` is whether the node serves it in each family, ``warnings`` what an operator should
    see to although the service works, ``contents`` the SHA-256 of what it serves, and ``units`` the
    state of an external service's unit. ``rollout`` is the number of the rollout order applied
    last, ``update`` where the node is in that rollout (None from an agent without waves), and
    ``witnessed`` what it sees of the nodes that it examines.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    in_service: bool
    services: dict[Annotated[str, StringConstraints(max_length=64)], bool]
    sessions: dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=64)],
    ]
    tls_mismatches: tuple[Annotated[str, StringConstraints(max_length=128)], ...] = ()
    drain: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    drained: bool = False
    blackhole: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    alarms: Annotated[tuple[Alarm, ...], Field(max_length=MAX_ALARMS)] = ()
    ways: Annotated[tuple[tuple[NodeId, ...], ...], Field(max_length=MAX_WAYS)] = ()
    hearsay: Annotated[tuple[Hearsay, ...], Field(max_length=MAX_HEARSAY)] = ()
    refused: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=80)],
            Annotated[int, Field(ge=0, le=2**53 - 1)],
        ],
        Field(max_length=MAX_REFUSED),
    ] = field(default_factory=dict)
    bird: ErrorText | None = None
    announced: (
        Annotated[
            dict[
                Name,
                Annotated[tuple[Prefix, ...], Field(max_length=MAX_UPSTREAMS)],
            ],
            Field(max_length=MAX_UPSTREAMS),
        ]
        | None
    ) = None
    down: Annotated[dict[Name, Down], Field(max_length=MAX_DOWN)] = field(default_factory=dict)
    failures: Annotated[dict[Name, ErrorText], Field(max_length=MAX_FAILURES)] = field(
        default_factory=dict
    )
    tunnels: Annotated[dict[Name, ErrorText], Field(max_length=MAX_TUNNELS)] | None = None
    refusals: Annotated[tuple[Refusal, ...], Field(max_length=MAX_REFUSALS)] = ()
    faults: Annotated[dict[Name, ErrorText], Field(max_length=MAX_FAULTS)] | None = None
    clocks: (
        Annotated[
            dict[
                Annotated[str, StringConstraints(max_length=128)],
                Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)],
            ],
            Field(max_length=MAX_CLOCKS),
        ]
        | None
    ) = None
    unconfirmed: Unconfirmed | None = None
    logins: Annotated[tuple[Used, ...], Field(max_length=MAX_LOGINS)] | None = None
    repairs: Repairs | None = None
    hold: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    held: Annotated[int, Field(ge=0, le=2**53 - 1)] | None = None
    withheld: Annotated[
        dict[Annotated[str, StringConstraints(max_length=64)], ErrorText],
        Field(max_length=MAX_WITHHELD),
    ] = field(default_factory=dict)
    families: Annotated[
        dict[Name, dict[Literal["ipv4", "ipv6"], bool]], Field(max_length=MAX_FAILURES)
    ] = field(default_factory=dict)
    warnings: Annotated[dict[Name, ErrorText], Field(max_length=MAX_FAILURES)] = field(
        default_factory=dict
    )
    contents: Annotated[dict[Name, Hash], Field(max_length=MAX_FAILURES)] = field(
        default_factory=dict
    )
    units: Annotated[dict[Name, Name], Field(max_length=MAX_FAILURES)] = field(default_factory=dict)
    rollout: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    update: Update | None = None
    witnessed: Annotated[dict[NodeId, Witnessed], Field(max_length=MAX_WITNESSED)] = field(
        default_factory=dict
    )

    @property
    def updating(self) -> bool:
        """Whether it takes an update over."""
        return self.update in ("draining", "applying")

    @property
    def apart(self) -> bool:
        """Whether what it does not announce and serve is meant so: it is drained by order, or takes
        an update over."""
        return self.drained or self.updating


@dataclass(frozen=True, slots=True)
class Report:
    """A node's report on a generation, signed with its identity.

    ``applied`` is the generation in force on the node, 0 for none; ``outcome`` is that of
    ``generation``. ``sequence`` grows with every report of a node, whatever its clock does.
    ``clock`` is the time of the report by the node's clock (microseconds since the epoch), None
    from an earlier version, whose ``sequence`` is that time.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    node: NodeId
    generation: Number
    manifest_sha256: Hash
    nonce: Key
    outcome: Literal["applied", "failed", "withdrawn"]
    reason: Text
    applied: Annotated[int, Field(ge=0, le=2**53 - 1)]
    sequence: Number
    bundle: Hash
    health: Health
    clock: Number | None = None


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A node's request to join: its facts as text (:class:`mesh.facts.Facts`), and their HMAC under
    a key derived from its token. The token itself is not sent."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    node: NodeId
    facts: Annotated[str, StringConstraints(max_length=16384)]
    mac: Key


@dataclass(frozen=True, slots=True)
class RefusedJoin:
    """A request to join that a registry has refused because of its source address."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    address: IPv4Address | IPv6Address
    request: JoinRequest


@dataclass(frozen=True, slots=True)
class StatedIdentity:
    """What a registry reads of a node's facts: its identity key."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    identity: Key


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """Where a node will be, and the public half of its token's proof."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    region: NodeId
    addresses: tuple[IPv4Address | IPv6Address, ...]
    proof: Key


@dataclass(frozen=True, slots=True)
class Planned:
    """The nodes of the plan, before any of them has joined, and their network. ``network`` is None
    from earlier versions, and while the operator does not know which network they follow."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    nodes: dict[NodeId, PlannedNode]
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """What the API shows of a generation: public parts of the plan, hashed in the manifest.

    ``nodes`` maps an id to its description (region, addresses, WireGuard, cloud-init).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    firewall: dict[str, Any]
    nodes: dict[NodeId, NodeView]


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the API shows it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    region: NodeId
    addresses: tuple[IPv4Address | IPv6Address, ...]
    description: dict[str, Any]
    wireguard: dict[str, Any]
    cloud_init: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole generation, as earlier versions send it to a registry. Parts and views are texts,
    because their hashes are over their bytes."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    manifest: Signed
    parts: dict[NodeId, str]
    views: str


@dataclass(frozen=True, slots=True)
class PackedGeneration:
    """A whole generation for a registry, with each text once: most of a part is the same on all
    nodes. ``parts`` are, for each node, the indexes in ``texts`` that make up its part."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    manifest: Signed
    texts: tuple[str, ...]
    parts: dict[NodeId, tuple[Annotated[int, Field(ge=0)], ...]]
    views: str

    def part(self, node: str) -> str:
        """A node's part, over which its hash is. IndexError if a text is missing."""
        return "".join([self.texts[place] for place in self.parts[node]])

    def unpacked(self) -> Generation:
        """The same for a registry of an earlier version."""
        return Generation(self.manifest, {node: self.part(node) for node in self.parts}, self.views)
