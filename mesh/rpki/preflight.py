"""Origin validation of a plan's announcements, before they are made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from mesh.plan import Aggregate, Network, Plan
from mesh.rpki.validity import AS0, Reason, State, Verdict, Vrp, in_order, inside, validate
from mesh.spec import Problem

SHOWN = 4
"""VRPs that a message lists; the others are counted."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A prefix that a plan's edges announce; ``key`` is its key in the stack file. With ``hosts``
    some upstream also gets blackholes, which are single addresses of it."""

    key: str
    prefix: Network
    origin: int
    hosts: bool

    def roa(self) -> str:
        """The ROA that makes only this announcement Valid (RFC 9319, section 5)."""
        return f"AS{self.origin}, {self.prefix}, maxLength {self.prefix.prefixlen}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One announcement and its state: why, what to do (empty where it is Valid), and what else
    these VRPs permit."""

    announcement: Announcement
    verdict: Verdict
    why: str
    cure: str
    warnings: tuple[Problem, ...]
    notes: tuple[str, ...]

    def problem(self, demanded: bool) -> Problem | None:
        """What is wrong with it, None where it is Valid.

        NotFound is a warning unless Valid is ``demanded``: networks accept such routes (RFC 7115,
        section 5), but nothing protects the prefix.
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
    """What some node announces, with the origin that the Internet sees: the network's own ASN,
    since providers remove private ones."""
    return tuple(
        Announcement(_key(each), each.prefix, plan.asn, _discards(plan, each))
        for each in plan.aggregates
        if each.nodes
    )


def _key(each: Aggregate) -> str:
    part = f"ipv{each.prefix.version}" if each.covering is None else "moreSpecifics"
    return f"mesh:prefixes.{part}"


def _discards(plan: Plan, each: Aggregate) -> bool:
    """Whether some upstream discards single addresses of it."""
    family = f"ipv{each.prefix.version}"
    return any(
        session.family == family and session.blackhole is not None
        for node in plan.nodes
        if node.id in each.nodes
        for session in node.upstreams
    )


def preflight(announced: Sequence[Announcement], vrps: Collection[Vrp]) -> tuple[Finding, ...]:
    """The result for each announcement. Only VRPs that cover one of them or are inside it
    matter."""
    own = {(each.prefix, each.prefix.prefixlen, each.origin) for each in announced}
    found: list[Finding] = []
    for each in announced:
        # The ROA of a more-specific that is announced as well is no mistake of its aggregate's.
        others = own - {(each.prefix, each.prefix.prefixlen, each.origin)}
        mine = [vrp for vrp in vrps if (vrp.prefix, vrp.max_length, vrp.asn) not in others]
        found.append(_finding(each, mine))
    return tuple(found)


def problems(findings: Sequence[Finding], demanded: bool) -> Iterator[Problem]:
    """The errors and warnings of all findings."""
    for finding in findings:
        wrong = finding.problem(demanded)
        if wrong is not None:
            yield wrong
        yield from finding.warnings


def _finding(announcement: Announcement, vrps: Collection[Vrp]) -> Finding:
    verdict = validate(announcement.prefix, announcement.origin, vrps)
    parts = sorted(
        (
            v
            for v in vrps
            if v.prefix != announcement.prefix and inside(v.prefix, announcement.prefix)
        ),
        key=in_order,
    )
    return Finding(
        announcement,
        verdict,
        _why(announcement, verdict, parts),
        _cure(announcement, verdict),
        (
            *_too_wide(announcement, [*verdict.covering, *parts]),
            *_of_others(announcement, parts),
        ),
        tuple(_notes(announcement, verdict, parts)),
    )


def _why(announcement: Announcement, verdict: Verdict, parts: Sequence[Vrp]) -> str:
    prefix, covering = announcement.prefix, verdict.covering
    match verdict.reason:
        case Reason.AUTHORISED:
            return f"authorised by the ROA {covering[0]}"
        case Reason.NO_ROA if parts:
            return f"no ROA covers it, only parts of it: {_listed(parts)}"
        case Reason.NO_ROA:
            return "no ROA covers it, so validation cannot detect a hijack"
        case Reason.TOO_LONG:
            own = [vrp for vrp in covering if vrp.asn == announcement.origin]
            return f"a /{prefix.prefixlen} is beyond the maxLength of {_listed(own)}"
        case Reason.WRONG_ORIGIN:
            others = [vrp for vrp in covering if vrp.asn != AS0]
            return f"the ROAs that cover it have other origins than AS{announcement.origin}: " + (
                _listed(others)
            )
        case Reason.NOBODY:
            return f"AS0 forbids anybody to announce it: {_listed(covering)}"


def _cure(announcement: Announcement, verdict: Verdict) -> str:
    make = f"make a ROA at the RIR that holds the prefix: {announcement.roa()}"
    match verdict.reason:
        case Reason.AUTHORISED:
            return ""
        case Reason.TOO_LONG:
            return f"{make} (one that matches is enough; the shorter one may stay)"
        case Reason.WRONG_ORIGIN:
            return f"{make}, beside the others; or correct mesh:asn, if theirs is yours"
        case Reason.NOBODY:
            return (
                f"{make}; where the AS0 is not your own, the RIR regards the prefix as unassigned: "
                "ask it first"
            )
        case Reason.NO_ROA:
            return make


def _too_wide(announcement: Announcement, vrps: Sequence[Vrp]) -> Iterator[Problem]:
    """ROAs that permit more than the plan announces (RFC 9319, section 5): a more-specific with a
    forged origin is Valid and preferred."""
    prefix = announcement.prefix
    for vrp in vrps:
        if vrp.asn != announcement.origin or vrp.max_length <= prefix.prefixlen:
            continue
        first = max(vrp.prefix.prefixlen, prefix.prefixlen + 1)
        lengths = f"/{first}" if vrp.max_length == first else f"/{first} to /{vrp.max_length}"
        yield Problem(
            announcement.key, str(vrp),
            f"this ROA also authorises {lengths} in {prefix}, which no node announces: with a "
            f"forged origin AS{announcement.origin} one would be Valid, and attract its traffic "
            "(RFC 9319)",
            f"have no more than {announcement.roa()}", "warning",
        )  # fmt: skip


def _of_others(announcement: Announcement, parts: Sequence[Vrp]) -> Iterator[Problem]:
    """More-specifics that another network may announce, and that are preferred to the aggregate."""
    for vrp in parts:
        if vrp.asn not in (announcement.origin, AS0):
            yield Problem(
                announcement.key, str(vrp),
                f"AS{vrp.asn} may announce a part of {announcement.prefix}, and would attract its "
                "traffic",
                "remove that ROA at the RIR, unless it is intended", "warning",
            )  # fmt: skip


def _notes(announcement: Announcement, verdict: Verdict, parts: Sequence[Vrp]) -> Iterator[str]:
    """Blackholes that are Invalid although the aggregate is Valid, as they should be."""
    host = announcement.prefix.max_prefixlen
    own = [vrp for vrp in (*verdict.covering, *parts) if vrp.asn == announcement.origin]
    reach = max((vrp.max_length for vrp in own), default=host)
    if announcement.hosts and verdict.state is State.VALID and reach < host:
        yield (
            f"in {announcement.prefix} what is longer than /{reach} is Invalid by these ROAs, so "
            f"the /{host} of a blackhole too: providers that accept blackholes exempt them; make "
            "no ROA for them, or anybody could announce them with your origin (RFC 9319, "
            "section 6)"
        )


def _listed(vrps: Sequence[Vrp]) -> str:
    named = "; ".join(map(str, vrps[:SHOWN]))
    more = len(vrps) - SHOWN
    return f"{named} and {more} more" if more > 0 else named
