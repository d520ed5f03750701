"""Answers of the looking glass, for its pages, for its JSON, and between nodes.

What a node says of itself is its ``data``; an answer about several nodes has one for each, or the
reason why there is none. Everything in it is text of others: paths, communities, errors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints

_LENIENT = ConfigDict(extra="ignore")
Text = Annotated[str, StringConstraints(max_length=400)]
Seconds = Annotated[float, Field(ge=0, le=2.0**53, allow_inf_nan=False)]
Number = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""An ASN, a preference, a cost: BGP's have 32 bits."""
MAX_ROUTES = 500
"""Routes in one node's answer."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Community:
    """A community as BGP writes it (``20473:300``), and its name where one is known."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    value: Text
    name: Text = ""


Validity = Literal["valid", "invalid", "unknown", "not checked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path to a prefix in one of BIRD's tables. ``peer`` is a node's id or a neighbor's name;
    ``path`` has the ASNs from the nearest on, and ``nodes`` the nodes that private ones among them
    are; ``node`` is the node that the next hop is. ``used``: traffic takes it; ``why`` says in
    words why it is used or is not. ``refused`` is the reason of the import policy, None where it
    is accepted."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    prefix: Text
    table: Text
    session: Text
    kind: Literal["tunnel", "ibgp", "upstream", "vpc", "static", "device", "other"]
    peer: Text = ""
    used: bool = False
    why: Text = ""
    refused: Text | None = None
    since: Seconds = 0.0
    path: Annotated[tuple[Number, ...], Field(max_length=1024)] = ()
    nodes: Annotated[tuple[Text, ...], Field(max_length=1024)] = ()
    origin: Number | None = None
    next_hop: Text = ""
    node: Text = ""
    interface: Text = ""
    local_pref: Number | None = None
    med: Number | None = None
    communities: Annotated[tuple[Community, ...], Field(max_length=512)] = ()
    rov: Validity = "not checked"
    aspa: Validity = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routes:
    """The routes of one node to what was asked for. ``cut`` says that there are more, and how many
    are shown; empty where all are. ``notes`` are for the reader: a table that this node has not,
    a BIRD that was reconfigured meanwhile."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    routes: Annotated[tuple[Route, ...], Field(max_length=MAX_ROUTES)]
    cut: Text = ""
    notes: Annotated[tuple[Text, ...], Field(max_length=20)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The refused routes of one node: how many for each reason, and the first of them."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    counts: dict[Text, Number]
    routes: Annotated[tuple[Route, ...], Field(max_length=MAX_ROUTES)]
    cut: Text = ""
    notes: Annotated[tuple[Text, ...], Field(max_length=20)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer(Generic[T]):
    """One node's answer: ``data``, or ``why`` there is none. ``took_ms`` as the asking node
    measured it; ``truncated``: the node has more than it sent."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    ok: bool
    took_ms: Seconds = 0.0
    truncated: bool = False
    data: T | None = None
    why: Text = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Generic[T]):
    """An answer: what was ``asked``, when (seconds since the epoch), and by node what it says."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    asked: dict[str, str]
    at: Seconds
    nodes: dict[str, NodeAnswer[T]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """Why a question was not answered: the parameter, its value, the reason and the cure."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    key: Text
    value: Text
    reason: Text
    cure: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A node on a way, and the cost of the tunnel to it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    node: Text
    cost: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way between two nodes: by the plan's costs, and the one in use as the first node's
    routes say; ``in_use`` is None where no route leads there."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    planned: Annotated[tuple[Hop, ...], Field(max_length=1024)]
    in_use: Annotated[tuple[Hop, ...], Field(max_length=1024)] | None
    why: Text = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Who serves a service, by one node: whether it does itself in each family, and the node from
    which it takes it otherwise, empty where nobody serves it."""

    __pydantic_config__: ClassVar[ConfigDict] = _LENIENT
    serves: dict[str, bool] = field(default_factory=dict)
    taken_from: dict[str, Text] = field(default_factory=dict)
