"""What the nodes hold against each other, in an operator's words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from mesh.spec.problems import printable
from mesh.trust.documents import Alarm, Report

FRESH_SECONDS = 45.0
"""How old a node's word on its ways may be: a heartbeat and a half."""

_SAID = {
    "prefix": "says that it leads to {what}, which nobody in the mesh owns",
    "owner": "says that an address is at a node that does not own it: {what}",
    "link": "says that it has a way over a tunnel that the plan does not have: {what}",
    "service": "says that a service is where it may not be: {what}",
    "flood": "says more than the whole plan has, and is not listened to any further: {what}",
    "detour": "has a longer way than {by}'s own tunnel, which is up, and gets the packets: {what}",
}


@dataclass(frozen=True, slots=True)
class Warned:
    """One warning: ``by`` holds it against ``mate``; ``kind`` as in :class:`Alarm`, or ``vouched``
    where two reports contradict each other; ``text`` says what, and what to do."""

    by: str
    mate: str
    kind: str
    text: str


def warnings(reports: Mapping[str, Report], held: int, now: float) -> tuple[Warned, ...]:
    """What the recent reports, by node, hold against nodes; ``held`` is the generation that the
    registries hold, ``now`` seconds since the epoch."""
    found = [
        Warned(by, alarm.mate, alarm.kind, _text(by, alarm, reports, held))
        for by, report in reports.items()
        for alarm in report.health.alarms
    ]
    return tuple(
        sorted((*found, *_vouched(reports, now)), key=lambda each: (each.mate, each.by, each.kind))
    )


def _text(by: str, alarm: Alarm, reports: Mapping[str, Report], held: int) -> str:
    # A node's words: whoever holds it writes them, and a terminal reads them.
    what = printable(alarm.what)
    said = _SAID.get(alarm.kind, "is not believed: {what}").format(by=by, what=what)
    late = [
        node
        for node in (by, alarm.mate)
        if node in reports and reports[node].applied not in (0, held)
    ]
    text = f"{by}: {alarm.mate} {said}. "
    if alarm.kind not in ("detour", "flood"):
        text += f"{by} takes none of it. "
    if late:
        return text + f"{' and '.join(late)} not on generation {held} yet: look again then."
    return text + _cure(alarm.mate)


def _cure(mate: str) -> str:
    return f"{mate} is broken or in other hands: `mesh drain {mate}`, then `mesh replace {mate}`."


def _vouched(reports: Mapping[str, Report], now: float) -> Iterator[Warned]:
    """Ways over a tunnel that its far end calls down. No filter sees that: the near end alone
    vouches for it."""
    for by, report in reports.items():
        if now - report.sequence / 1e6 > FRESH_SECONDS:
            continue
        vouched = {
            (mate, far): way[-1] for way in report.health.ways for mate, far in pairwise(way)
        }
        for (mate, far), target in vouched.items():
            if far in reports and _is_cut(reports[far], mate):
                yield Warned(
                        by, mate, "vouched",
                        f"{by}: what is for {target} goes through {mate}, which says that its "
                        f"tunnel to {far} is up; {far} says that it is down. One of the two is "
                        f"broken or lies: find out which, `mesh drain` it and `mesh replace` it.",
                    )  # fmt: skip


def _is_cut(report: Report, mate: str) -> bool:
    """Whether a node has had no tunnel to a mate for a while: it goes around."""
    state = report.health.sessions.get("u_" + mate.replace("-", "_"), "")
    return state != "Established" and any(way[-1:] == (mate,) for way in report.health.ways)
