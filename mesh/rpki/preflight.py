"""What validators everywhere make of the announcements of a plan, before they are made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mesh.plan import Family, Network, Plan
from mesh.rpki.validity import AS0, Reason, State, Verdict, Vrp, in_order, inside, validate
from mesh.spec import Problem

SHOWN = 4
"""VRPs that a sentence names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a plan's edges say to the Internet; ``key`` is where the stack file has it.

    ``hosts`` says that some upstream is sent single addresses of it as well: blackhole orders.
    """

    key: str
    prefix: Network
    origin: int
    hosts: bool

    def roa(self) -> str:
        """The ROA that makes exactly this Valid, and nothing else (RFC 9319, section 5)."""
        return f"AS{self.origin}, {self.prefix}, maxLength {self.prefix.prefixlen}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One announcement and its verdict: why, what to do about it (empty where it is Valid), and
    what else these VRPs would let happen."""

    announcement: Announcement
    verdict: Verdict
    why: str
    cure: str
    warnings: tuple[Problem, ...]
    notes: tuple[str, ...]

    def problem(self, demanded: bool) -> Problem | None:
        """What is wrong with it, None where it is Valid.

        NotFound is a warning unless it is ``demanded``: RFC 7115, section 5 has such a route
        accepted, and so do networks that drop what is Invalid; a prefix without a ROA works,
        and nothing protects it.
        """
        state = self.verdict.state
        if state is State.VALID:
            return None
        fatal = demanded or state is State.INVALID
        return Problem(
            self.announcement.key,
            f"{self.announcement.prefix} from AS{self.announcement.origin}",
            f"{state}: {self.why}",
            self.cure,
            "error" if fatal else "warning",
        )


def announcements(plan: Plan) -> tuple[Announcement, ...]:
    """The aggregates that some edge has an upstream session for, with the origin that the Internet
    sees: the network's own ASN, since a provider takes its private one off the path."""
    sessions = [session for node in plan.nodes for session in node.upstreams]
    families = {session.family for session in sessions}
    discarding = {session.family for session in sessions if session.blackhole is not None}
    pairs: tuple[tuple[Family, Network | None], ...] = (
        ("ipv4", plan.prefixes.ipv4),
        ("ipv6", plan.prefixes.ipv6),
    )
    return tuple(
        Announcement(f"mesh:prefixes.{family}", prefix, plan.asn, family in discarding)
        for family, prefix in pairs
        if prefix is not None and family in families
    )


def preflight(said: Sequence[Announcement], vrps: Collection[Vrp]) -> tuple[Finding, ...]:
    """What these VRPs say of each announcement. ``vrps`` need be no more than those that cover one
    of them or lie in it."""
    return tuple(_finding(each, vrps) for each in said)


def problems(findings: Sequence[Finding], demanded: bool) -> Iterator[Problem]:
    """What is wrong, and what is worth a warning."""
    for finding in findings:
        wrong = finding.problem(demanded)
        if wrong is not None:
            yield wrong
        yield from finding.warnings


def _finding(said: Announcement, vrps: Collection[Vrp]) -> Finding:
    verdict = validate(said.prefix, said.origin, vrps)
    parts = sorted(
        (v for v in vrps if v.prefix != said.prefix and inside(v.prefix, said.prefix)),
        key=in_order,
    )
    return Finding(
        said,
        verdict,
        _why(said, verdict, parts),
        _cure(said, verdict),
        (
            *_too_wide(said, [*verdict.covering, *parts]),
            *_of_others(said, parts),
        ),
        tuple(_notes(said, verdict, parts)),
    )


def _why(said: Announcement, verdict: Verdict, parts: Sequence[Vrp]) -> str:
    prefix, covering = said.prefix, verdict.covering
    match verdict.reason:
        case Reason.AUTHORISED:
            return f"authorised by the ROA {covering[0]}"
        case Reason.NO_ROA if parts:
            return f"no ROA covers it, only parts of it: {_listed(parts)}"
        case Reason.NO_ROA:
            return "no ROA covers it, so nothing tells it from a hijack"
        case Reason.TOO_LONG:
            own = [vrp for vrp in covering if vrp.asn == said.origin]
            return f"a /{prefix.prefixlen} is beyond the maxLength of {_listed(own)}"
        case Reason.WRONG_ORIGIN:
            others = [vrp for vrp in covering if vrp.asn != AS0]
            return f"the ROAs that cover it name other origins than AS{said.origin}: " + (
                _listed(others)
            )
        case Reason.NOBODY:
            return f"AS0 says that nobody may announce it: {_listed(covering)}"


def _cure(said: Announcement, verdict: Verdict) -> str:
    make = f"make a ROA at the RIR that holds the prefix: {said.roa()}"
    match verdict.reason:
        case Reason.AUTHORISED:
            return ""
        case Reason.TOO_LONG:
            return f"{make} (one that matches is enough; the shorter one may stay)"
        case Reason.WRONG_ORIGIN:
            return f"{make}, beside the others; or mend mesh:asn, if theirs is yours"
        case Reason.NOBODY:
            return (
                f"{make}; where the AS0 is not your own, the RIR holds the prefix for unassigned: "
                "ask there first"
            )
        case Reason.NO_ROA:
            return make


def _too_wide(said: Announcement, vrps: Sequence[Vrp]) -> Iterator[Problem]:
    """What lets more than the plan announces pass as ours (RFC 9319, section 5): a more-specific
    with a forged origin is Valid, and wins."""
    prefix = said.prefix
    for vrp in vrps:
        if vrp.asn != said.origin or vrp.max_length <= prefix.prefixlen:
            continue
        first = max(vrp.prefix.prefixlen, prefix.prefixlen + 1)
        lengths = f"/{first}" if vrp.max_length == first else f"/{first} to /{vrp.max_length}"
        yield Problem(
            said.key, str(vrp),
            f"this ROA also authorises {lengths} in {prefix}, which no node announces: whoever "
            f"forges AS{said.origin} as the origin of one would be Valid, and draw its traffic "
            "(RFC 9319)",
            f"have no more than {said.roa()}", "warning",
        )  # fmt: skip


def _of_others(said: Announcement, parts: Sequence[Vrp]) -> Iterator[Problem]:
    """More-specifics that another network may announce: they would win against the aggregate."""
    for vrp in parts:
        if vrp.asn not in (said.origin, AS0):
            yield Problem(
                said.key, str(vrp),
                f"AS{vrp.asn} may announce a part of {said.prefix}, and would draw its traffic",
                "remove that ROA at the RIR, unless it is meant so", "warning",
            )  # fmt: skip


def _notes(said: Announcement, verdict: Verdict, parts: Sequence[Vrp]) -> Iterator[str]:
    """What is Invalid although the aggregate is Valid, and has to be so."""
    host = said.prefix.max_prefixlen
    own = [vrp for vrp in (*verdict.covering, *parts) if vrp.asn == said.origin]
    reach = max((vrp.max_length for vrp in own), default=host)
    if said.hosts and verdict.state is State.VALID and reach < host:
        yield (
            f"in {said.prefix} what is longer than /{reach} is Invalid by these ROAs, so the "
            f"/{host} of a blackhole order too: a provider that takes such orders exempts them; "
            "make no ROA for them, or anybody who forges your origin could announce them "
            "(RFC 9319, section 6)"
        )


def _listed(vrps: Sequence[Vrp]) -> str:
    named = "; ".join(map(str, vrps[:SHOWN]))
    more = len(vrps) - SHOWN
    return f"{named} and {more} more" if more > 0 else named
