"""What an update takes off the Internet while it runs: rules about the announcers.

Who announces comes from the nodes' reports (:mod:`mesh.publish.announcers`). Where they cannot be
asked for, the plan is used instead on request only.
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

RESTART_SESSIONS = "--restart-sessions"
ACCEPT_OUTAGE = "--accept-outage"
BY_PLAN = "--by-plan"


@dataclass(frozen=True, slots=True)
class LiveAnnouncers:
    """Who announces each prefix, by the nodes' reports; ``unsure`` are nodes that may announce it.
    ``announcing`` is None where no registry could be asked, for the reason ``why``. ``logins`` are
    the recent logins by node; a node that does not report them is missing. ``waveless`` are nodes
    of an earlier version, which take every generation over at once."""

    announcing: Announcers | None
    unsure: Announcers = field(default_factory=dict)
    why: str = "no registry was asked"
    logins: Mapping[str, tuple[Used, ...]] = field(default_factory=dict)
    waveless: frozenset[str] = frozenset()


NOT_ASKED = LiveAnnouncers(None)


@dataclass(frozen=True, slots=True)
class Limit:
    """The part of the announcers that one update may touch; one always, never all."""

    part: Fraction = Fraction(1, 3)

    @classmethod
    def of(cls, text: str) -> Limit:
        """Read ``1/3`` or ``0.25``; ValueError where the text is no part."""
        try:
            part = Fraction(text)
        except (ValueError, ZeroDivisionError):
            raise ValueError(f"{text!r} is no part: write 1/3 or 0.25") from None
        if not 0 < part <= 1:
            raise ValueError(f"{text} is not above 0 and at most 1")
        return cls(part)

    def nodes(self, all_of_them: int) -> int:
        """How many of ``all_of_them`` may be touched at once."""
        return max(1, int(all_of_them * self.part))


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules judge. ``before`` is the plan in force, ``after`` the new one; ``disturbed``
    are nodes that lose their server, ``absent`` those that have none already; ``anew`` are those
    whose upstream sessions start anew, by family. ``live`` is who announces in effect."""

    preview: Preview
    before: Plan
    after: Plan
    asked: Asked
    limit: Limit
    disturbed: frozenset[str]
    absent: frozenset[str]
    anew: Mapping[str, frozenset[str]]
    live: LiveAnnouncers

    @classmethod
    def of(
        cls, preview: Preview, after: Plan, asked: Asked, limit: Limit, live: LiveAnnouncers
    ) -> Case:
        """The case of a preview. The new plan stands in for a plan in force that another version of
        this code wrote."""
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
            live=live,
        )

    def reaches(self) -> Iterator[Reach]:
        """The prefixes that are in both plans."""
        after = {each.prefix for each in self.after.aggregates}
        for each in self.before.aggregates:
            if each.prefix in after:
                yield self._reach(each.prefix)

    def _reach(self, prefix: Network) -> Reach:
        planned = frozenset(announcers(self.before, prefix))
        there = planned - self.absent
        sure = may = there
        if self.live.announcing is not None:
            sure = there & self.live.announcing.get(prefix, frozenset())
            may = sure | there & self.live.unsure.get(prefix, frozenset())
        going = planned & self.disturbed | planned - set(announcers(self.after, prefix))
        begun = planned & self.anew.get(f"ipv{prefix.version}", frozenset())
        return Reach(prefix, planned, sure, may, going, begun - going)


@dataclass(frozen=True, slots=True)
class Reach:
    """Who announces a prefix, and what an update does to it.

    ``planned`` are to announce it by the plan in force. Of those, ``sure`` do, and ``may`` also has
    those of which it is unknown. ``going`` lose their server, or shall no longer announce it; the
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
        """Its key in a stack file."""
        return f"mesh:prefixes.ipv{self.prefix.version}"

    def is_asked(self, asked: Asked) -> bool:
        """Whether only one node is to announce it, and its server is to be replaced or removed: the
        prefix is away meanwhile, whatever else happens."""
        return len(self.planned) == 1 and self.planned <= asked.replace | asked.remove

    @property
    def lost(self) -> frozenset[str]:
        """Those of ``going`` that announce it, or may."""
        return self.going & self.may

    @property
    def begun(self) -> frozenset[str]:
        """Those of ``anew`` that announce it, or may."""
        return self.anew & self.may

    @property
    def stays(self) -> frozenset[str]:
        """Those that announce it, and keep their servers."""
        return self.sure - self.going

    @property
    def away(self) -> frozenset[str]:
        """Those that are to announce it, and are not known to."""
        return self.planned - self.sure


Rule = Callable[[Case], Iterator[Problem]]


def one_reflector_stays(case: Case) -> Iterator[Problem]:
    """At least one reflector stays a reflector and keeps its server."""
    before = {node.id for node in case.before.with_role(Role.REFLECTOR)}
    after = {node.id for node in case.after.with_role(Role.REFLECTOR)}
    known = {node.id for node in case.before.nodes}
    # A new server for a node that had none disturbs no session.
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
    """No possible announcer is disturbed unless the nodes' reports are known."""
    hit = sorted({node for reach in case.reaches() for node in reach.going | reach.anew})
    if hit and case.live.announcing is None and not case.asked.by_plan:
        yield Problem(
            "announcers", "unknown",
            f"the update disturbs {', '.join(hit)}, and it could not be asked who else announces "
            f"in effect: {case.live.why}",
            f"judge it where the stack's state and a registry can be reached, or go by the plan: "
            f"{BY_PLAN}",
        )  # fmt: skip


def an_announcer_stays(case: Case) -> Iterator[Problem]:
    """Every prefix of both plans is announced by some node all the time."""
    for reach in case.reaches():
        if reach.is_asked(case.asked):
            continue
        if reach.lost and not reach.stays:
            yield Problem(
                reach.key, str(reach.prefix),
                f"its last announcers would go at once ({_names(reach.lost)}){_already(reach)}",
                "let another node announce it first, or change one node after the other",
            )  # fmt: skip


def few_announcers_at_once(case: Case) -> Iterator[Problem]:
    """At most the given part of a prefix's announcers go at once, including those that are away."""
    reported = set()
    for reach in case.reaches():
        touched, most = reach.going | reach.away, case.limit.nodes(len(reach.planned))
        if reach.lost and len(touched) > most and touched not in reported:
            reported.add(touched)
            yield Problem(
                "mesh:nodes", _names(touched),
                f"{len(touched)} of {len(reach.planned)} announcers would be away at once, and "
                f"--most {case.limit.part} allows {most}{_already(reach)}",
                "change fewer nodes by one update, or raise --most",
            )  # fmt: skip


def few_sessions_at_once(case: Case) -> Iterator[Problem]:
    """Upstream sessions start anew where another node announces the prefix meanwhile, except with
    ``--restart-sessions``. A generation that goes in waves restarts them at one node after the
    other; without waves all of them count at once."""
    if case.asked.restart_sessions:
        return
    if case.before.asn != case.after.asn:
        yield Problem(
            "mesh:asn", f"{case.before.asn} -> {case.after.asn}",
            "every BGP session of the network would start anew at once, and each neighbor has to "
            "expect the new ASN by then",
            f"take it back, or ask for it: {RESTART_SESSIONS}",
        )  # fmt: skip
        return
    in_turn = case.after.waves and not case.live.waveless
    yield from _alone(case) if in_turn else _at_once(case)


def _alone(case: Case) -> Iterator[Problem]:
    """Nodes whose sessions start anew while no other node announces the prefix."""
    for reach in case.reaches():
        alone = frozenset(node for node in reach.begun if not reach.stays - {node})
        if alone:
            yield Problem(
                reach.key, str(reach.prefix),
                f"the upstream sessions of {_names(alone)} would start anew, and no other node is "
                f"known to announce it meanwhile{_already(reach)}",
                f"let another node announce it first, or let it go off the Internet for that time: "
                f"{RESTART_SESSIONS} here, and `mesh rollout {ACCEPT_OUTAGE}` for the update",
            )  # fmt: skip


def _at_once(case: Case) -> Iterator[Problem]:
    """Sessions that start anew at more than the given part of a prefix's announcers, or at all of
    those that stay."""
    reported = set()
    for reach in case.reaches():
        touched = reach.begun | reach.going | reach.away
        most = case.limit.nodes(len(reach.planned))
        if reach.begun and not reach.stays - reach.begun:
            yield Problem(
                reach.key, str(reach.prefix),
                f"the upstream sessions of all that announce it would start anew at once "
                f"({_names(reach.begun)}){_already(reach)}",
                f"{_in_turn(case)}, or ask for it: {RESTART_SESSIONS}",
            )  # fmt: skip
        elif reach.begun and len(touched) > most and touched not in reported:
            reported.add(touched)
            yield Problem(
                "upstream sessions", _names(reach.begun),
                f"with them {len(touched)} of {len(reach.planned)} announcers would be away at "
                f"once, and --most {case.limit.part} allows {most}{_already(reach)}",
                f"{_in_turn(case)}, or ask for it: {RESTART_SESSIONS}",
            )  # fmt: skip


def _in_turn(case: Case) -> str:
    """How sessions would start anew at one node after the other."""
    if not case.after.waves:
        return "remove mesh:waves, change one node after the other"
    return (
        f"publish without this change first ({_names(case.live.waveless)}: of an earlier version, "
        "which knows no waves), change one node after the other"
    )


def sessions_are_comparable(case: Case) -> Iterator[Problem]:
    """The plan in force can be compared with the new one."""
    published = case.preview.generation
    compared = case.preview.before is not None or published is None or published.verb != "update"
    if not compared and not case.asked.restart_sessions:
        yield Problem(
            "the plan in force", "of another version",
            "this code cannot read it, so it is unknown which sessions start anew",
            f"see the new version's notes on upgrades, or allow all of them: {RESTART_SESSIONS}",
        )  # fmt: skip


def a_used_way_in_stays(case: Case) -> Iterator[Problem]:
    """On a node with recent logins, one of them stays possible: in an unattended update nobody
    confirms the change by a new login."""
    networks = removed_networks(case.before, case.after)
    keys = removed_keys(case.before, case.after)
    if not networks and not keys:
        return
    nodes = {node.id for node in case.before.nodes} & {node.id for node in case.after.nodes}
    nodes -= case.absent | set(case.after.without)
    silent = frozenset(node for node in nodes if node not in case.live.logins)
    shut = frozenset(node for node in nodes - silent if _is_shut(case, case.live.logins[node]))
    key = "mesh:admin.ssh" if networks else "mesh:admin.keys"
    value = ", ".join([*map(str, networks), *keys])
    if shut:
        yield Problem(
            key, value,
            f"all recent logins to {_names(shut)} used this",
            "log in from a network and with a key that stay, then run the update; or run "
            "`pulumi up` at a terminal",
        )  # fmt: skip
    if silent:
        why = case.live.why
        if case.live.announcing is not None:
            why = f"{_names(silent)} does not report it"
        yield Problem(
            key, value, f"it is unknown whether another network or key is used to log in: {why}",
            "run `pulumi up` at a terminal, and log in when it asks for it",
        )  # fmt: skip


def _is_shut(case: Case, used: Iterable[Used]) -> bool:
    """Whether there were logins, and none of them stays possible."""
    found = [
        stays(login, case.before, case.after) for login in used if is_there(login, case.before)
    ]
    return bool(found) and not any(found)


RULES: tuple[Rule, ...] = (
    a_used_way_in_stays,
    one_reflector_stays,
    announcers_are_known,
    an_announcer_stays,
    few_announcers_at_once,
    sessions_are_comparable,
    few_sessions_at_once,
)
"""A new rule is one function and one line."""


def _names(nodes: frozenset[str]) -> str:
    return ", ".join(sorted(nodes))


def _already(reach: Reach) -> str:
    """The end of a reason: the announcers that are away already."""
    away = reach.away - reach.going
    return f"; not known to announce it now: {_names(away)}" if away else ""
