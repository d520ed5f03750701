"""What must not happen by an update that nobody looked at: rules over a preview.

A policy pack sees a resource's inputs, and neither the operation nor what stands; so these rules
cannot be written there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from mesh.plan import Plan, Role
from mesh.preview.kinds import GENERATION, OPERATOR, Kind
from mesh.preview.reach import announcers
from mesh.preview.steps import Preview, Step
from mesh.preview.summary import disturbed, is_first, servers
from mesh.spec.problems import Problem

INTERNAL = "INTERNAL"
"""Of a GCP address: it is one of its own VPC's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The nodes whose replacement, and whose removal, was asked for."""

    replace: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()


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
    ``disturbed`` are nodes that lose their server, ``absent`` those that have none already."""

    preview: Preview
    before: Plan
    after: Plan
    asked: Asked
    limit: Limit
    disturbed: frozenset[str]
    absent: frozenset[str]


Rule = Callable[[Case], Iterator[Problem]]


def gate(preview: Preview, asked: Asked, limit: Limit) -> tuple[Problem, ...]:
    """Why this update must not run unattended; empty where it may.

    The first publication of a stack may do anything: nothing is announced yet.
    """
    unasked = tuple(_unasked(preview, asked))
    if is_first(preview):
        return unasked
    after = preview.after
    if after is None:
        return unasked + tuple(_unjudged(preview))
    known = {node.id for node in (preview.before or after).nodes}
    case = Case(
        preview=preview,
        # Where another version of this code wrote the plan in force, the new one is judged by.
        before=preview.before or after,
        after=after,
        asked=asked,
        limit=limit,
        disturbed=frozenset(disturbed(preview)),
        absent=frozenset(servers(preview, "create").keys() & known),
    )
    return unasked + tuple(problem for rule in RULES for problem in rule(case))


def _unasked(preview: Preview, asked: Asked) -> Iterator[Problem]:
    """Servers and addresses that go without anybody having asked, and what nobody can ask for."""
    for step in preview.steps:
        if step.verb in ("replace", "delete") and step.type in ROOTS:
            yield Problem(
                step.name, step.verb, ROOTS[step.type],
                "take the change back; a new fleet is a new stack",
            )  # fmt: skip
        if step.kind not in (Kind.SERVER, Kind.ADDRESS):
            continue
        if step.node is None:
            yield from _nobody_s(step)
            continue
        # The engine names the id where `--replace` alone makes it so.
        reasons = [reason for reason in step.reasons if reason != "id"]
        why = f" (because of: {', '.join(reasons)})" if reasons else ""
        if step.verb == "replace" and step.node not in asked.replace:
            yield Problem(
                step.name, "replace", f"nobody asked for {step.node} to be replaced{why}",
                f"take the change back, or ask for it: --replace {step.node}",
            )  # fmt: skip
        if step.verb == "delete" and step.node not in asked.remove:
            yield Problem(
                step.name, "delete", f"nobody asked for {step.node} to be removed",
                f"put it back into the stack file, or ask for it: --remove {step.node}",
            )  # fmt: skip


ROOTS = {
    OPERATOR: "with another operator's key no node takes a generation from this stack any more",
    GENERATION: "the publication knows what is in force, and without it nothing is judged",
}
"""What a stack has one of for as long as it lives, and why."""


def _nobody_s(step: Step) -> Iterator[Problem]:
    """A server or address under no node's component: there is no id to ask for it by."""
    # What a cloud's routers have is inside its VPC, and goes with the last node there.
    inside = INTERNAL in (step.old.get("addressType"), step.new.get("addressType"))
    if step.verb in ("replace", "delete") and not inside:
        yield Problem(
            step.name, step.verb, "it belongs to no node, so nobody can have asked for it",
            "look at it, and run `pulumi up` yourself where it is right",
        )  # fmt: skip


def _unjudged(preview: Preview) -> Iterator[Problem]:
    hit = disturbed(preview)
    if hit:
        yield Problem(
            "preview", ", ".join(hit),
            "it does not hold the plan, so nobody can tell whether the others suffice",
            "preview with --show-sames",
        )  # fmt: skip


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


def an_announcer_stays(case: Case) -> Iterator[Problem]:
    """Every prefix that stays is announced by somebody all the time."""
    for prefix in case.before.prefixes.both():
        if prefix not in case.after.prefixes.both():
            continue
        before = set(announcers(case.before, prefix))
        stays = before & set(announcers(case.after, prefix)) - case.disturbed - case.absent
        going = before - stays - case.absent
        if going and not stays:
            yield Problem(
                f"mesh:prefixes.ipv{prefix.version}", str(prefix),
                f"its last announcers would go at once ({', '.join(sorted(going))})",
                "let another node announce it first, or change one node after the other",
            )  # fmt: skip


def few_announcers_at_once(case: Case) -> Iterator[Problem]:
    """No more than the stated part of the edges go at once; those that are gone count."""
    before = {node.id for node in case.before.with_role(Role.EDGE)}
    after = {node.id for node in case.after.with_role(Role.EDGE)}
    going = (before & case.disturbed) | (before - after)
    touched = going | (before & case.absent)
    most = case.limit.nodes(len(before))
    if going and len(touched) > most:
        yield Problem(
            "mesh:nodes", ", ".join(sorted(touched)),
            f"{len(touched)} of {len(before)} announcers would be away at once, and --most "
            f"{case.limit.part} allows {most}",
            "change fewer nodes by one update, or raise --most",
        )  # fmt: skip


RULES: tuple[Rule, ...] = (one_reflector_stays, an_announcer_stays, few_announcers_at_once)
"""What is judged beside what was asked for: a new rule is one function and one line."""
