"""``mesh:traffic``: what is asked of upstreams, so that more or less traffic comes in somewhere."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from mesh.spec.providers import Community, Scope
from mesh.spec.section import Section
from mesh.spec.types import NetworkAny, Refused

NO_PEER: Community = (65535, 65284)
"""Not for peers, only for customers and providers (RFC 3765): hardly obeyed, and harmless."""

WELL_KNOWN: dict[Community, tuple[str, str, str]] = {
    (65535, 65281): (
        "no-export",
        "no provider would pass the aggregate on, and the Internet would not reach it there",
        "to be seen by the provider's own customers only, write scope: providerOnly; to be gone, "
        "`mesh drain`",
    ),
    (65535, 65282): (
        "no-advertise",
        "the provider's router would tell nobody, not even its own network",
        "remove it; to take a node out of service, `mesh drain`",
    ),
    (65535, 65283): (
        "no-export-subconfed",
        "the aggregate would not leave one part of the provider's network",
        "remove it; to take a node out of service, `mesh drain`",
    ),
    (65535, 666): (
        "blackhole",
        "all that is sent to the whole aggregate would be thrown away",
        "for one address under attack, `mesh blackhole add`",
    ),
    (65535, 0): (
        "graceful-shutdown",
        "it is for routes that are about to go, and a node that drains sends it by itself",
        "`mesh drain`",
    ),
}
"""Well-known communities that no rule may send: name, why not, and what is to be done instead."""

NAMES: dict[str, Community] = {
    "no-peer": NO_PEER,
    **{name: community for community, (name, _, _) in WELL_KNOWN.items()},
}
RESERVED_LARGE = (0, 65535, 4294967295)
"""Global administrators that no large community has (RFC 8092, section 5)."""


def _community(value: Any) -> Any:
    """The numbers of a community that is written as text: by name, or with colons between."""
    if isinstance(value, int):
        raise Refused("YAML reads this as one number", 'put it between quotes, as "174:30"')
    if not isinstance(value, str):
        return value
    community = NAMES.get(value) or _numbers(value)
    if community in WELL_KNOWN:
        name, reason, cure = WELL_KNOWN[community]
        raise Refused(f"{name}: {reason}" if value != name else reason, cure)
    if len(community) == 2 and community[0] == 65535 and community != NO_PEER:
        raise Refused(
            "communities of 65535 are well-known ones, and none is of that number (RFC 1997)",
            "write no-peer, or what your provider documents",
        )
    if len(community) == 3 and community[0] in RESERVED_LARGE:
        raise Refused(
            "no AS of that number defines large communities (RFC 8092)",
            "begin with the ASN whose documentation you follow",
        )
    return community


def _numbers(text: str) -> Community:
    parts = text.split(":")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(parts) not in (2, 3):
        raise Refused(
            "there is no community of that name",
            'write no-peer, or numbers: "174:3001" or, as a large one, "174:0:3001"',
        )
    limit = 65535 if len(parts) == 2 else 4294967295
    if any(len(part) > 10 or int(part) > limit for part in parts):
        raise Refused(
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
Asn = Annotated[int, Field(ge=1, le=4294967295)]
Times = Annotated[int, Field(ge=1)]
RuleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=40)]
"""A name of at most 40 small letters, digits and hyphens, a letter first."""


class ToAs(Section):
    """What the upstream is asked to do towards one AS; at Vultr only."""

    asn: Asn
    """The AS that is meant: one that the upstream speaks BGP with."""
    prepend: Times | None = None
    """How many times the upstream prepends its own ASN towards this AS: 1 to 3 at Vultr."""
    export: bool | None = None
    """``false``: this AS is not told; ``true``: it is told in spite of a narrower ``scope``."""
    zero_med: Annotated[bool, Field(alias="zeroMed")] = False
    """Whether the upstream tells this AS a MED of 0."""


class Rule(Section):
    """What is asked of upstreams, and at which nodes; without ``nodes`` and ``regions`` a rule
    holds for every edge."""

    name: RuleName
    """The rule's own name, by which ``bird.conf`` and errors call it."""
    nodes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Edges that the rule holds for; not together with ``regions``."""
    regions: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Regions whose edges the rule holds for."""
    prefix: NetworkAny | None = None
    """The aggregate that the rule holds for; without it, both."""
    prepend: Times | None = None
    """How many times more an ASN stands in the path, so that less traffic comes in: at Vultr its
    own, 1 to 3 times, elsewhere ours, 1 to 5 times."""
    scope: Scope | None = None
    """Whom the upstream tells of the aggregate: ``all``, all but peers at exchanges (``noIxp``),
    only the route servers of exchanges (``routeServersOnly``), route servers and peers at exchanges
    (``ixpOnly``), or nobody (``providerOnly``); at Vultr only."""
    med: Annotated[int, Field(ge=0, le=4294967295)] | None = None
    """The MED that the upstream itself hears and compares."""
    zero_med: Annotated[bool, Field(alias="zeroMed")] = False
    """Whether the upstream tells others a MED of 0; at Vultr only."""
    to_as: Annotated[tuple[ToAs, ...], Field(alias="toAs")] = ()
    """What is asked towards single ASes; at Vultr only."""
    communities: tuple[RawCommunity, ...] = ()
    """Communities that are sent as they are, as the upstream documents them."""
    local_preference: Annotated[
        Annotated[int, Field(ge=1, le=4294967295)] | None, Field(alias="localPreference")
    ] = None
    """Local preference of the routes that the session imports."""


WHERE = ("name", "nodes", "regions", "prefix")
"""Options of a rule that ask for nothing."""


def options(section: type[Section]) -> tuple[str, ...]:
    """What may stand in a part of the stack file, as it is written there."""
    return tuple(field.alias or name for name, field in section.model_fields.items())
