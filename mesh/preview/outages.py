"""What an update takes off the Internet while it runs: rules about those that announce.

Who announces is asked of the network (:mod:`mesh.publish.announcers`). Where it cannot be asked
the plan is believed by request only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from mesh.plan import Network, Plan, Role
from mesh.preview.access import is_there, removed_keys, removed_networks, stays
from mesh.preview.reach import announcers
from mesh.preview.sessions import anew
from mesh.preview.steps import Preview
from mesh.preview.summary import disturbed, servers, session_fates, sessions_in_place
from mesh.preview.unattended import Asked
from mesh.publish.announcers import Announcers
from mesh.spec.problems import Problem
from mesh.trust.documents import Used

ALLOW = "--restart-sessions"
BY_PLAN = "--by-plan"


@dataclass(frozen=True, slots=True)
class Heard:
    """What could be found out of who announces: ``unsure`` are nodes of which nobody can tell.
    ``announcing`` is None where nobody could be asked, for the reason ``why``. ``logins`` are the
    ways by which somebody has logged in to a node lately; it is not in it where it does not say."""

    announcing: Announcers | None
    unsure: Announcers = field(default_factory=dict)
    why: str = "nobody was asked"
    logins: Mapping[str, tuple[Used, ...]] = field(default_factory=dict)


UNHEARD = Heard(None)
"""Nobody was asked."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The part of the announcers that one update may touch; one always, never all."""

    part: Fraction = Fraction(1, 3)

    @classmethod
    def of(cls, text: str) -> Limit:
        """The limit of a text as ``1/3`` or ``0.25``; ValueError where it is none."""
        try:
            part = Fraction(text)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{text!r} is no part: write 1/3 or 0.25") from None
        if not 0 < part <= 1:
            raise ValueError(f"{text} is not above 0 and at most 1")
        return cls(part)

    def nodes(self, all_of_them: int) -> int:
        """How many of so many may be touched at once."""
        return max(1, int(all_of_them * self.part))


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules judge. ``before`` is the plan in force, ``after`` the one to be;
    ``disturbed`` are nodes that lose their server, ``absent`` those that have none already;
    ``anew`` are those whose upstream sessions start anew, by family. ``heard`` is who announces in
    effect."""

    preview: Preview
    before: Plan
    after: Plan
    asked: Asked
    limit: Limit
    disturbed: frozenset[str]
    absent: frozenset[str]
    anew: Mapping[str, frozenset[str]]
    heard: Heard

    @classmethod
    def of(cls, preview: Preview, after: Plan, asked: Asked, limit: Limit, heard: Heard) -> Case:
        """The case of a preview. Where another version of this code wrote the plan in force, the
        new one is judged by."""
        before = preview.before or after
        known = {node.id for node in before.nodes}
        return cls(
            preview=preview,
            before=before,
            after=after,
            asked=asked,
            limit=limit,
            disturbed=frozenset(disturbed(preview)),
            absent=frozenset(servers(preview, "create").keys() & known),
            anew=anew(sessions_in_place(preview, session_fates(preview)), after)
            if preview.before
            else {},
            heard=heard,
        )

    def reaches(self) -> Iterator[Reach]:
        """Every prefix that stays."""
        for prefix in self.before.prefixes.both():
            if prefix in self.after.prefixes.both():
                yield self._reach(prefix)

    def _reach(self, prefix: Network) -> Reach:
        planned = frozenset(announcers(self.before, prefix))
        there = planned - self.absent
        sure = may = there
        if self.heard.announcing is not None:
            sure = there & self.heard.announcing.get(prefix, frozenset())
            may = sure | there & self.heard.unsure.get(prefix, frozenset())
        going = planned & self.disturbed | planned - set(announcers(self.after, prefix))
        begun = planned & self.anew.get(f"ipv{prefix.version}", frozenset())
        return Reach(prefix, planned, sure, may, going, begun - going)


@dataclass(frozen=True, slots=True)
class Reach:
    """Who announces a prefix, and what an update does to it.

    ``planned`` are to announce it by the plan in force. Of those, ``sure`` do so, and ``may`` do so
    or may: nobody can tell. ``going`` lose their server, or are to announce it no more; the
    sessions of ``anew`` start anew.
    """

    prefix: Network
    planned: frozenset[str]
    sure: frozenset[str]
    may: frozenset[str]
    going: frozenset[str]
    anew: frozenset[str]

    @property
    def key(self) -> str:
        """Where it stands in a stack file."""
        return f"mesh:prefixes.ipv{self.prefix.version}"

    @property
    def lost(self) -> frozenset[str]:
        """Those that announce it, or may, and will go."""
        return self.going & self.may

    @property
    def begun(self) -> frozenset[str]:
        """Those that announce it, or may, and will do so anew."""
        return self.anew & self.may

    @property
    def stays(self) -> frozenset[str]:
        """Those that announce it, and keep their servers."""
        return self.sure - self.going

    @property
    def away(self) -> frozenset[str]:
        """Those that are to announce it, and do not for sure."""
        return self.planned - self.sure


Rule = Callable[[Case], Iterator[Problem]]


def one_reflector_stays(case: Case) -> Iterator[Problem]:
    """Some reflector of now is one afterwards too, and keeps its server."""
    before = {node.id for node in case.before.with_role(Role.REFLECTOR)}
    after = {node.id for node in case.after.with_role(Role.REFLECTOR)}
    known = {node.id for node in case.before.nodes}
    # A server that is made for a node which had none disturbs nobody.
    fresh = frozenset(servers(case.preview, "create")) - known
    touched = (case.disturbed | fresh) & (before | after)
    stays = (before & after) - case.disturbed - case.absent
    alone = before == after and len(before) == 1
    if touched and not stays and not alone:
        yield Problem(
            "mesh:reflectors", ", ".join(sorted(before | after)),
            f"all reflectors would be touched at once ({', '.join(sorted(touched))}), and no "
            "service could move between nodes meanwhile",
            "change one, wait until `mesh status` shows it well, then change the next",
        )  # fmt: skip


def announcers_are_known(case: Case) -> Iterator[Problem]:
    """Nobody that may announce is disturbed unless those that remain have been asked."""
    hit = sorted({node for reach in case.reaches() for node in reach.going | reach.anew})
    if hit and case.heard.announcing is None and not case.asked.by_plan:
        yield Problem(
            "announcers", "unknown",
            f"the update disturbs {', '.join(hit)}, and it could not be asked who else announces "
            f"in effect: {case.heard.why}",
            f"judge it where the stack's state and a registry can be reached, or believe the plan: "
            f"{BY_PLAN}",
        )  # fmt: skip


def an_announcer_stays(case: Case) -> Iterator[Problem]:
    """Every prefix that stays is announced by somebody all the time."""
    for reach in case.reaches():
        if reach.lost and not reach.stays:
            yield Problem(
                reach.key, str(reach.prefix),
                f"its last announcers would go at once ({_names(reach.lost)}){_already(reach)}",
                "let another node announce it first, or change one node after the other",
            )  # fmt: skip


def few_announcers_at_once(case: Case) -> Iterator[Problem]:
    """No more than the stated part of those that announce a prefix go at once; those that are away
    count."""
    told = set()
    for reach in case.reaches():
        touched, most = reach.going | reach.away, case.limit.nodes(len(reach.planned))
        if reach.lost and len(touched) > most and touched not in told:
            told.add(touched)
            yield Problem(
                "mesh:nodes", _names(touched),
                f"{len(touched)} of {len(reach.planned)} announcers would be away at once, and "
                f"--most {case.limit.part} allows {most}{_already(reach)}",
                "change fewer nodes by one update, or raise --most",
            )  # fmt: skip


def few_sessions_at_once(case: Case) -> Iterator[Problem]:
    """Upstream sessions start anew at no more than the stated part of those that announce a prefix,
    and never at all that stay, unless that is asked for."""
    if case.asked.restart_sessions:
        return
    if case.before.asn != case.after.asn:
        yield Problem(
            "mesh:asn", f"{case.before.asn} -> {case.after.asn}",
            "every BGP session of the network would start anew at once, and each neighbor has to "
            "expect the new ASN by then",
            f"take it back, or ask for it: {ALLOW}",
        )  # fmt: skip
        return
    told = set()
    for reach in case.reaches():
        touched = reach.begun | reach.going | reach.away
        most = case.limit.nodes(len(reach.planned))
        if reach.begun and not reach.stays - reach.begun:
            yield Problem(
                reach.key, str(reach.prefix),
                f"the upstream sessions of all that announce it would start anew at once "
                f"({_names(reach.begun)}){_already(reach)}",
                f"change one node after the other, or ask for it: {ALLOW}",
            )  # fmt: skip
        elif reach.begun and len(touched) > most and touched not in told:
            told.add(touched)
            yield Problem(
                "upstream sessions", _names(reach.begun),
                f"with them {len(touched)} of {len(reach.planned)} announcers would be away at "
                f"once, and --most {case.limit.part} allows {most}{_already(reach)}",
                f"change one node after the other, or ask for it: {ALLOW}",
            )  # fmt: skip


def sessions_can_be_told(case: Case) -> Iterator[Problem]:
    """The plan in force can be compared with the one to be."""
    published = case.preview.generation
    compared = case.preview.before is not None or published is None or published.verb != "update"
    if not compared and not case.asked.restart_sessions:
        yield Problem(
            "the plan in force", "of another version",
            "this code cannot read it, so nobody can tell which sessions start anew",
            f"see what the new version says of upgrades, or let all of them: {ALLOW}",
        )  # fmt: skip


def a_used_way_in_stays(case: Case) -> Iterator[Problem]:
    """Where somebody has logged in to a node by a way that goes, he has by one that stays as well:
    nobody is there to log in when the update says so."""
    networks = removed_networks(case.before, case.after)
    keys = removed_keys(case.before, case.after)
    if not networks and not keys:
        return
    nodes = {node.id for node in case.before.nodes} & {node.id for node in case.after.nodes}
    nodes -= case.absent | set(case.after.without)
    silent = frozenset(node for node in nodes if node not in case.heard.logins)
    shut = frozenset(node for node in nodes - silent if _is_shut(case, case.heard.logins[node]))
    key = "mesh:admin.ssh" if networks else "mesh:admin.keys"
    value = ", ".join([*map(str, networks), *keys])
    if shut:
        yield Problem(
            key, value,
            f"whoever has logged in to {_names(shut)} lately has done so by this alone",
            "log in by a way that stays, and run the update then; or run `pulumi up` at a terminal",
        )  # fmt: skip
    if silent:
        why = case.heard.why if case.heard.announcing is None else f"{_names(silent)} does not say"
        yield Problem(
            key, value, f"nobody can tell whether another way in is used: {why}",
            "run `pulumi up` at a terminal, and log in when it says so",
        )  # fmt: skip


def _is_shut(case: Case, used: Iterable[Used]) -> bool:
    """Whether some way was used, and none of those stays."""
    found = [stays(way, case.before, case.after) for way in used if is_there(way, case.before)]
    return bool(found) and not any(found)


RULES: tuple[Rule, ...] = (
    a_used_way_in_stays,
    one_reflector_stays,
    announcers_are_known,
    an_announcer_stays,
    few_announcers_at_once,
    sessions_can_be_told,
    few_sessions_at_once,
)
"""What is judged beside what was asked for: a new rule is one function and one line."""


def _names(nodes: frozenset[str]) -> str:
    return ", ".join(sorted(nodes))


def _already(reach: Reach) -> str:
    """Who is away already, behind what is refused because of it."""
    away = reach.away - reach.going
    return f"; not known to announce it now: {_names(away)}" if away else ""
