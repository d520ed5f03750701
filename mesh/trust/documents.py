"""The documents that travel between operator, registries and nodes.

Frozen dataclasses, parsed strictly and before use. What a node follows (its part) has to be
understood to the last key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from mesh.limits import MAX_BLACKHOLES
from mesh.trust.sealing import Box
from mesh.trust.signing import Signed

_STRICT = ConfigDict(extra="forbid")
# A key that a later version has added is passed over where an older bundle has to read on: to find
# in the manifest which bundle replaces it, or to relay what is not its own to follow.
_LATER = ConfigDict(extra="ignore")

NodeId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{43}=$")]
Text = Annotated[str, StringConstraints(max_length=4096)]
MAX_NUMBER = 2**53 - 1
Number = Annotated[int, Field(ge=1, le=MAX_NUMBER)]
MAX_NETWORK = 64
Network = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NETWORK)]
# Absolute, and nothing in it leads elsewhere: a part can name a file, never a way around one.
FilePath = Annotated[
    str, StringConstraints(pattern=r"^(/[A-Za-z0-9_@][A-Za-z0-9._@-]*)+$", max_length=255)
]
Unit = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._-]*\.service$")]
_MODES = (0o600, 0o640, 0o644, 0o700, 0o750, 0o755)


def _mode(value: int) -> int:
    """Nothing that others than its owner may write, nothing with special bits."""
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
    """What a registry reads of a part: whose it is."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    node: NodeId


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """What the manifest says of a node: the hash of its part, and its Ed25519 identity."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    part_sha256: Hash
    identity: Key


@dataclass(frozen=True, slots=True)
class RegistryEntry:
    """A registry, and the hash of the certificate that it shows."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    url: Annotated[str, StringConstraints(pattern=r"^https://[0-9A-Za-z.:\[\]-]+$", max_length=128)]
    tls_sha256: Hash | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A generation in the operator's words: numbered, and signed by the operator.

    ``nonce`` is fresh for each generation and comes back in the nodes' reports. ``retired`` tells
    the nodes that the network is being taken down: they withdraw, whatever the floor says.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    network: Network
    generation: Number
    nonce: Key
    bundle: Hash
    registries: tuple[RegistryEntry, ...]
    nodes: dict[NodeId, NodeEntry]
    views_sha256: Hash
    retired: bool = False


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """Who is drained, in the operator's words: signed, and numbered apart from generations.

    Each order says the whole: a node that it does not name is not drained. The highest valid
    number of a network counts; where there is no order (number 0), nobody is drained.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    network: Network
    number: Number
    nodes: tuple[NodeId, ...]


MAX_HOLD = 4 * 3600
"""Seconds for which a node is held at most."""
MAX_HELD = 512
"""Nodes in one order."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One node that is held ``until`` then (seconds since the epoch, UTC, by its own clock)."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    node: NodeId
    until: Number


@dataclass(frozen=True, slots=True)
class HoldOrder:
    """Who repairs and applies nothing, in the operator's words: signed, and numbered apart from all
    else.

    Each order says the whole: a node that it does not name is held no more. A hold ends by itself,
    MAX_HOLD after a node has heard of it at the latest, without a new order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    network: Network
    number: Number
    holds: Annotated[tuple[Hold, ...], Field(max_length=MAX_HELD)]

    def until(self, node: str) -> int:
        """When the hold of a node ends, 0 where it is not named."""
        return max((hold.until for hold in self.holds if hold.node == node), default=0)


MAX_REASON, MAX_REFUSAL_REASON = 200, 400
MAX_ALARMS, MAX_WAYS, MAX_HEARSAY, MAX_REFUSED, MAX_REFUSALS = 64, 256, 40, 48, 8
MAX_UPSTREAMS, MAX_DOWN, MAX_FAILURES, MAX_TUNNELS = 16, 48, 64, 64
MAX_FAULTS, MAX_CLOCKS, MAX_REPAIRS = 8, 16, 16
MAX_ACCESS, MAX_LOGINS = 8, 16
"""How many of them a report holds."""
MAX_WORDS = 120
"""Characters of an error in a report."""
Words = Annotated[str, StringConstraints(max_length=MAX_WORDS)]
CLOCKS_DIFFER = 5.0
"""Seconds from which on two clocks are told to differ: HTTP tells the time in whole ones."""
MAX_NAME = 64
Name = Annotated[str, StringConstraints(max_length=MAX_NAME)]


def _unscoped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """A zone may hold any text at all, and this is written into files."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address with a zone")
    return address


def _unscoped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    _unscoped(network.network_address)
    return network


Prefix = Annotated[IPv4Network | IPv6Network, AfterValidator(_unscoped_network)]


@dataclass(frozen=True, slots=True)
class Blackhole:
    """One address whose packets are discarded ``until`` then (seconds since the epoch, UTC, by the
    node's own clock). ``forced`` where the operator insists although a service has the address."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    address: Annotated[IPv4Address | IPv6Address, AfterValidator(_unscoped)]
    until: Number
    reason: Annotated[str, StringConstraints(max_length=MAX_REASON)]
    forced: bool = False


@dataclass(frozen=True, slots=True)
class BlackholeOrder:
    """What is discarded, in the operator's words: signed, and numbered apart from all else.

    Each order says the whole: an address that it does not name is discarded no more. An entry ends
    by itself, without a new order.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    network: Network
    number: Number
    entries: Annotated[tuple[Blackhole, ...], Field(max_length=MAX_BLACKHOLES)]

    def in_force(self, now: float) -> tuple[Blackhole, ...]:
        """The entries that have not ended; ``now`` is seconds since the epoch."""
        return tuple(entry for entry in self.entries if entry.until > now)


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a node holds against a peer: ``kind`` says what, ``what`` gives an example.

    Refused, and nothing that an honest peer says: ``prefix`` (nobody of the mesh owns it),
    ``owner`` (of one who does not own it), ``link`` (by a link that the plan does not have),
    ``service`` (at a node that may not serve it), ``flood`` (more than the plan has). Taken, and
    odd: ``detour`` (its own address, which it does not tell us itself although our session is up).
    ``order``: an order to discard something, which the operator's does not name.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    mate: NodeId
    kind: Annotated[str, StringConstraints(max_length=32)]
    what: Annotated[str, StringConstraints(max_length=200)]


@dataclass(frozen=True, slots=True)
class Hearsay:
    """An address that a node discards on the word of a peer alone: of a reflector, over iBGP."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    address: Annotated[IPv4Address | IPv6Address, AfterValidator(_unscoped)]
    mate: NodeId


@dataclass(frozen=True, slots=True)
class Down:
    """A BGP session that is not Established: BIRD's last error of it, empty where BIRD has none,
    and ``since`` when (seconds since the epoch by the node's clock, 0 where it is not known)."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    error: Words = ""
    since: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A manifest or an order with the signature of our operator's key that a node does not follow.

    ``number`` is the generation's or the order's, 0 where it cannot be read; ``digest`` is that of
    the envelope (:attr:`mesh.trust.signing.Signed.digest`). Agents name no ``hold`` yet: versions
    before this one could not read the report.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    what: Literal["manifest", "drain", "blackhole", "hold"]
    number: Annotated[int, Field(ge=0, le=2**53 - 1)]
    digest: Hash
    reason: Annotated[str, StringConstraints(max_length=MAX_REFUSAL_REASON)]


LOGIN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$"
"""Users that may stand in a command: nothing that a shell reads otherwise."""
Login = Annotated[str, StringConstraints(pattern=LOGIN)]


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A generation that is in force on a node, and narrows who may log in: the node goes back from
    it unless somebody logs in anew before ``ends`` (microseconds since the epoch, by the node's
    clock).

    ``lost`` says what it takes away; ``networks`` may log in by it, at one of ``ports`` and, for
    one, as ``user``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    generation: Number
    ends: Number
    lost: Annotated[tuple[Words, ...], Field(max_length=MAX_ACCESS)]
    networks: Annotated[tuple[Prefix, ...], Field(max_length=MAX_ACCESS)]
    ports: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(max_length=MAX_ACCESS)
    ]
    user: Login = "root"


@dataclass(frozen=True, slots=True)
class Used:
    """When somebody has logged in last (seconds since the epoch, by the node's clock) from an
    admin's ``network`` by a ``key``: its fingerprint, empty where it was none."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    network: Prefix
    key: Annotated[str, StringConstraints(max_length=MAX_NAME)]
    last: Number


@dataclass(frozen=True, slots=True)
class Repair:
    """What a node has found in another way than its generation says: ``what`` it is, and ``why`` it
    had to be put right the last time, ``times`` in the last ten minutes, ``last`` at that time
    (seconds since the epoch by the node's clock). ``by`` is the process that is known to have
    changed it, empty where none is. ``stopped`` where it is changed again and again, and is not put
    right any more for a while."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    what: Name
    why: Words
    times: Annotated[int, Field(ge=0, le=2**53 - 1)]
    last: Annotated[int, Field(ge=0, le=2**53 - 1)]
    by: Words = ""
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Repairs:
    """``count`` is how much a node has put right since its agent started, ``objects`` what it was
    in the last ten minutes, and what it puts right no more; at most MAX_REPAIRS of them."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    count: Annotated[int, Field(ge=0, le=2**53 - 1)]
    objects: Annotated[tuple[Repair, ...], Field(max_length=MAX_REPAIRS)] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How a node is: services that it serves itself, whether it announces, BGP sessions by name
    with BIRD's word for their state, registries whose certificate is not the manifest's.

    ``drain`` is the number of the drain order that the node has obeyed last, 0 for none, and
    ``drained`` whether it is drained by it: it has withdrawn and serves nothing then.
    ``blackhole`` is the number of the blackhole order that is in force in its firewall and in BIRD.
    ``alarms`` are about peers, at most one of a kind about each. ``ways`` are those that it has
    taken through other nodes for some time: each leads to its last node. ``hearsay`` is what it
    discards although the operator's order that it holds does not say so, if it holds any.
    ``refused`` counts the routes that it has refused since its agent started, by reason.
    ``refusals`` are manifests and orders of our operator's key that registries offer it now and
    that it does not follow.

    What follows is None in the report of an agent that does not look for it. ``bird`` is empty
    where BIRD answers, and else why it does not; ``sessions`` is empty then. ``announced`` are the
    upstream sessions that are Established, by name, each with the aggregates that BIRD exports on
    it; None also where BIRD does not answer. ``down`` are the sessions that are not Established, at
    most MAX_DOWN of them. ``failures`` says why a service is down, by its name. ``tunnels`` says
    what is wrong with a WireGuard interface, by its name; those that are well are not in it.
    ``faults`` are the node's own, and its agent's: ``disk`` where it takes nothing, ``files`` that
    cannot be written or put back, ``announce`` where BIRD does not take the announce state,
    ``presence`` where services are not looked after, and threads that have failed and were begun
    again. ``clocks`` are the registries whose clock differs from
    the node's, by URL: by so many seconds the node's is ahead of it (behind where it is negative).
    ``unconfirmed`` is the generation that is in force until somebody has to have logged in.
    ``logins`` are the ways by which somebody has logged in lately, the last one first.
    ``repairs`` is what it has put right that somebody else changed. ``hold`` is the number of the
    hold order that it has obeyed last, and ``held`` when its hold ends (seconds since the epoch by
    the node's clock), by that order or by a command on the node; 0 where it is not held.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
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
    bird: Words | None = None
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
    failures: Annotated[dict[Name, Words], Field(max_length=MAX_FAILURES)] = field(
        default_factory=dict
    )
    tunnels: Annotated[dict[Name, Words], Field(max_length=MAX_TUNNELS)] | None = None
    refusals: Annotated[tuple[Refusal, ...], Field(max_length=MAX_REFUSALS)] = ()
    faults: Annotated[dict[Name, Words], Field(max_length=MAX_FAULTS)] | None = None
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


@dataclass(frozen=True, slots=True)
class Report:
    """A node's word on a generation, signed with its identity.

    ``applied`` is the generation that is in force on the node, 0 where there is none; ``outcome``
    speaks of ``generation``. ``sequence`` grows with every report of a node, whatever its clock
    does. ``clock`` is when it was said by the node's clock (microseconds since the epoch), None
    from an earlier version, whose ``sequence`` is that.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
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
    """A node's request to be believed: its facts as text (:class:`mesh.facts.Facts`), and their
    HMAC under a key that comes from its token. The token itself stays where it is."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT
    node: NodeId
    facts: Annotated[str, StringConstraints(max_length=16384)]
    mac: Key


@dataclass(frozen=True, slots=True)
class RefusedJoin:
    """A request to join that a registry has refused because of where it came from."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    address: IPv4Address | IPv6Address
    request: JoinRequest


@dataclass(frozen=True, slots=True)
class StatedIdentity:
    """What a registry reads of a node's facts: under which key it wants to be known."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    identity: Key


@dataclass(frozen=True, slots=True)
class PlannedNode:
    """Where a node will be, and the public half of its token's proof."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    region: NodeId
    addresses: tuple[IPv4Address | IPv6Address, ...]
    proof: Key


@dataclass(frozen=True, slots=True)
class Planned:
    """The nodes of the plan, before any of them has joined, and their network. ``network`` is None
    from earlier versions, and while the operator does not know yet which one they follow."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    nodes: dict[NodeId, PlannedNode]
    network: Network | None = None


@dataclass(frozen=True, slots=True)
class Views:
    """What the API shows of a generation: the plan's own words, public, hashed in the manifest.

    ``nodes`` maps an id to its description (region, addresses, WireGuard, cloud-init).
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    firewall: dict[str, Any]
    nodes: dict[NodeId, NodeView]


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the API shows it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    region: NodeId
    addresses: tuple[IPv4Address | IPv6Address, ...]
    description: dict[str, Any]
    wireguard: dict[str, Any]
    cloud_init: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole generation on its way to a registry, as earlier versions send and take it. Parts and
    views are texts, since their hashes are over their bytes."""

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    manifest: Signed
    parts: dict[NodeId, str]
    views: str


@dataclass(frozen=True, slots=True)
class PackedGeneration:
    """A whole generation on its way to a registry, with each text once: most of a part is the same
    on all nodes. ``parts`` names, by their places in ``texts``, those that make up a node's part.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _LATER
    manifest: Signed
    texts: tuple[str, ...]
    parts: dict[NodeId, tuple[Annotated[int, Field(ge=0)], ...]]
    views: str

    def part(self, node: str) -> str:
        """A node's part, as its hash is over it. IndexError where a text is not there."""
        return "".join([self.texts[place] for place in self.parts[node]])

    def unpacked(self) -> Generation:
        """The same for a registry of an earlier version."""
        return Generation(self.manifest, {node: self.part(node) for node in self.parts}, self.views)
