"""``mesh:traffic``: traffic engineering by what upstreams are asked to do."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from mesh.services.checks.check import Whole
from mesh.spec.providers import Community, Scope
from mesh.spec.section import Section
from mesh.spec.types import InvalidValue, NetworkAny

NO_PEER: Community = (65535, 65284)
"""Not for peers, only for customers and providers (RFC 3765): rarely supported, and harmless."""

WELL_KNOWN: dict[Community, tuple[str, str, str]] = {
    (65535, 65281): (
        "no-export",
        "no provider would pass the aggregate on, and the Internet would not reach it there",
        "to announce to the provider's own customers only, write scope: providerOnly; to "
        "withdraw, `mesh drain`",
    ),
    (65535, 65282): (
        "no-advertise",
        "the provider's router would announce it to no other router, not even in its own network",
        "remove it; to take a node out of service, `mesh drain`",
    ),
    (65535, 65283): (
        "no-export-subconfed",
        "the aggregate would not leave one part of the provider's network",
        "remove it; to take a node out of service, `mesh drain`",
    ),
    (65535, 666): (
        "blackhole",
        "all traffic to the whole aggregate would be discarded",
        "for one address under attack, `mesh blackhole add`",
    ),
    (65535, 0): (
        "graceful-shutdown",
        "it is for routes that are about to be withdrawn, and a draining node sends it by itself",
        "`mesh drain`",
    ),
}
"""Well-known communities that no rule may send: name, reason, and what to do instead."""

NAMES: dict[str, Community] = {
    "no-peer": NO_PEER,
    **{name: community for community, (name, _, _) in WELL_KNOWN.items()},
}
RESERVED_LARGE = (0, 65535, 4294967295)
"""Reserved global administrators of large communities (RFC 8092, section 5)."""


def _community(value: Any) -> Any:
    """The numbers of a community from text: a name, or numbers with colons between them."""
    if isinstance(value, int):
        raise InvalidValue("YAML reads this as one number", 'put it between quotes, as "174:30"')
    if not isinstance(value, str):
        return value
    community = NAMES.get(value) or _numbers(value)
    if community in WELL_KNOWN:
        name, reason, cure = WELL_KNOWN[community]
        raise InvalidValue(f"{name}: {reason}" if value != name else reason, cure)
    if len(community) == 2 and community[0] == 65535 and community != NO_PEER:
        raise InvalidValue(
            "communities of 65535 are well-known ones, and none has that number (RFC 1997)",
            "write no-peer, or a community that your provider documents",
        )
    if len(community) == 3 and community[0] in RESERVED_LARGE:
        raise InvalidValue(
            "this ASN is reserved in large communities (RFC 8092)",
            "begin with the ASN whose documentation you follow",
        )
    return community


def _numbers(text: str) -> Community:
    parts = text.split(":")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) not in (2, 3):
        raise InvalidValue(
            "there is no community of that name",
            'write no-peer, or numbers: "174:3001" or, as a large one, "174:0:3001"',
        )
    limit = 65535 if len(parts) == 2 else 4294967295
    if any(len(part) > 10 or int(part) > limit for part in parts):
        raise InvalidValue(
            f"the numbers of such a community go to {limit}",
            "write a large community of three numbers for a 32-bit ASN"
            if len(parts) == 2
            else "mend the number that is too large",
        )
    return tuple(map(int, parts))  # type: ignore[return-value]  # two or three, as just seen


RawCommunity = Annotated[Community, BeforeValidator(_community)]
"""A community between quotes: two numbers of at most 65535, as ``"174:3001"``; three for a large
one, as ``"174:0:3001"``; or ``no-peer``. Those that would withdraw or discard the aggregate are
refused."""
Asn = Annotated[Whole, Field(ge=1, le=4294967295)]
Times = Annotated[Whole, Field(ge=1)]
RuleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
"""A name of at most 40 small letters, digits and hyphens, a letter first."""


class ToAs(Section):
    """What the upstream is asked to do towards one AS; at Vultr only."""

    asn: Asn
    """The AS: a BGP neighbor of the upstream."""
    prepend: Times | None = None
    """How many times the upstream prepends its own ASN towards this AS: 1 to 3 at Vultr."""
    export: bool | None = None
    """``false``: the upstream does not announce the aggregate to this AS; ``true``: it does, in
    spite of a narrower ``scope``."""
    zero_med: Annotated[bool, Field(alias="zeroMed")] = False
    """Whether the upstream announces it to this AS with a MED of 0."""


class TrafficRule(Section):
    """What is asked of upstreams, and at which nodes; without ``nodes`` and ``regions`` a rule
    applies to every edge."""

    name: RuleName
    """The rule's name, which ``bird.conf`` and errors use."""
    nodes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Edges that the rule applies to; not together with ``regions``."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Regions whose edges the rule applies to."""
    prefix: NetworkAny | None = None
    """The aggregate that the rule applies to; without it, both."""
    sessions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of sessions in ``upstreams`` of nodes that the rule applies to; without it, all
    sessions."""
    prepend: Times | None = None
    """How many times an ASN is prepended to the path, so that less traffic comes in: at Vultr its
    own, 1 to 3 times, elsewhere ours, 1 to 5 times."""
    scope: Scope | None = None
    """To whom the upstream announces the aggregate: ``all``, all but peers at exchanges
    (``noIxp``), only route servers of exchanges (``routeServersOnly``), route servers and peers at
    exchanges (``ixpOnly``), or no other AS (``providerOnly``); at Vultr only."""
    med: Annotated[Whole, Field(ge=0, le=4294967295)] | None = None
    """The MED that the upstream receives and compares."""
    zero_med: Annotated[bool, Field(alias="zeroMed")] = False
    """Whether the upstream announces it to others with a MED of 0; at Vultr only."""
    to_as: Annotated[tuple[ToAs, ...], Field(alias="toAs")] = ()
    """What is asked towards single ASes; at Vultr only."""
    communities: tuple[RawCommunity, ...] = ()
    """Communities that are sent as they are, as the upstream documents them."""
    local_preference: Annotated[
        Annotated[Whole, Field(ge=1, le=4294967295)] | None, Field(alias="localPreference")
    ] = None
    """Local preference of the routes that the session imports."""


WHERE = ("name", "nodes", "regions", "prefix", "sessions")
"""Options of a rule that select sessions."""


def options(section: type[Section]) -> tuple[str, ...]:
    """The keys of a section, as written in the stack file."""
    return tuple(field.alias or name for name, field in section.model_fields.items())
