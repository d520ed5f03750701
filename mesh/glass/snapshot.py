"""What the agent of a node writes for the looking glass and for metrics: its state at one moment.

The agent writes it to :data:`PATH` every few seconds; the glass of this node reads it, and hands it
to the glasses of other nodes. It holds no secret. Times are seconds since the epoch by the node's
clock, 0 where unknown.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from mesh.limits import MAX_BLACKHOLES
from mesh.trust.documents import MAX_ERROR, MAX_REASON, Health

PATH = "/run/anycast-mesh/snapshot/snapshot.json"
"""In a folder of its own, which the glass's unit can bind: the file is replaced each time."""

_LENIENT = ConfigDict(extra="ignore")
MAX_SESSIONS, MAX_TUNNELS, MAX_CHECKS, MAX_CACHES = 4096, 1024, 256, 64
Text = Annotated[str, StringConstraints(max_length=MAX_ERROR)]
Name = Annotated[str, StringConstraints(max_length=64)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Field(ge=0, le=2.0**53, allow_inf_nan=False)]
Family = Literal["ipv4", "ipv6"]
SessionKind = Literal["tunnel", "ibgp", "upstream", "vpc"]


@dataclass(frozen=True, slots=True)
class Channel:
    """The routes of a session in one family: ``received`` from the neighbor, of which ``accepted``
    are in the table and ``refused`` are kept out by the import policy, and ``exported`` to it.
    ``limit`` is how many it may bring, 0 without a limit; ``at_limit``: it has brought as many."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    received: Count
    accepted: Count
    refused: Count
    exported: Count
    limit: Count = 0
    at_limit: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """A BGP session, by BIRD's ``name``. ``peer`` is a node's id for ``tunnel`` (eBGP on a tunnel)
    and ``ibgp``, a neighbor's name for ``upstream`` and ``vpc``. ``since`` is when it came into
    this ``state``, ``error`` its last error. ``bfd`` is whether its BFD session is up, None where
    it has none."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    name: Name
    kind: SessionKind
    peer: Name
    neighbor_asn: Count
    state: Name
    since: Seconds
    error: Text = ""
    bfd: bool | None = None
    channels: dict[Family, Channel] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """Whether it is Established."""
        return self.state == "Established"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A WireGuard interface: the latest handshake with the peer, and bytes since it is there."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    interface: Name
    peer: Name
    handshake: Seconds
    received: Count
    sent: Count


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A health check of a service in one family, as last asked: ``subject`` as ``http port 80``,
    how long the answer took, and ``why`` it is bad, empty where it is good."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    service: Name
    subject: Text
    family: Family | None
    seconds: Seconds
    good: bool
    why: Text = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """A session with an RPKI cache (RTR, RFC 8210), by BIRD's name."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    name: Name
    up: bool
    since: Seconds
    error: Text = ""


@dataclass(frozen=True, slots=True)
class Discarded:
    """A blackholed address: until when, why, and whether the operator's order names it
    (``signed``) or only a peer announces it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    address: IPv4Address | IPv6Address
    until: Seconds
    reason: Annotated[str, StringConstraints(max_length=MAX_REASON)] = ""
    signed: bool = True


@dataclass(frozen=True, slots=True)
class Generation:
    """The generations of a node: the one that is ``applied``, the highest ``published`` one that it
    knows (0 for none), and the ``outcome`` of that one, with the ``reason`` where it failed."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    applied: Count
    published: Count
    outcome: Literal["applied", "failed", "withdrawn", "pending"]
    reason: Annotated[str, StringConstraints(max_length=4096)] = ""
    rollbacks: Count = 0
    """Roll-backs since the agent started."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What runs on a node; ``bundle`` is its SHA-256."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    bird: Name = ""
    bundle: Name = ""
    kernel: Annotated[str, StringConstraints(max_length=MAX_ERROR)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One node at one moment. ``health`` is the same as in its signed report. ``records`` are
    those of the RPKI by table (``roas4``), ``registries`` whether each answers, by URL;
    ``certificate`` is when this registry's own TLS certificate ends, 0 where it is none.
    ``prefixes`` are those that the node may announce, each with whether BIRD exports it to an
    upstream."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    node: Name
    at: Seconds
    agent_started: Seconds
    bird_started: Seconds
    versions: Versions
    generation: Generation
    health: Health
    sessions: Annotated[tuple[Session, ...], Field(max_length=MAX_SESSIONS)]
    tunnels: Annotated[tuple[Tunnel, ...], Field(max_length=MAX_TUNNELS)]
    checks: Annotated[tuple[CheckResult, ...], Field(max_length=MAX_CHECKS)] = ()
    caches: Annotated[tuple[Cache, ...], Field(max_length=MAX_CACHES)] = ()
    records: dict[Name, Count] = field(default_factory=dict)
    blackholes: Annotated[tuple[Discarded, ...], Field(max_length=4 * MAX_BLACKHOLES)] = ()
    discarded_packets: Count = 0
    """Packets that blackholes have discarded since the ruleset was loaded."""
    prefixes: dict[Name, bool] = field(default_factory=dict)
    registries: dict[Annotated[str, StringConstraints(max_length=128)], bool] = field(
        default_factory=dict
    )
    certificate: Seconds = 0
