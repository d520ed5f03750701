"""What the nodes hold against each other, in an operator's words.

A report is one node's word, and whoever holds a node writes its reports. So one node's word alone
is no verdict: it says that one of two is broken, the one that it accuses or itself. Where two say
the same, and neither of them accuses half the mesh, it is the one that they accuse.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mesh.foreign import printable
from mesh.publish.recent import is_recent
from mesh.trust.documents import Alarm, Report

CONFIRMED = 2
"""So many nodes say the same of a peer."""
SEVERAL = 2
"""Who accuses so many peers, and nobody says the same, is the likelier one."""
SHOWN = 3
"""So many warnings of one node's word alone are shown where it accuses several peers."""

_SAID = {
    "prefix": "says that it leads to {what}, which nobody in the mesh owns",
    "owner": "says that an address is at a node that does not own it: {what}",
    "link": "says that it has a way over a tunnel that the plan does not have: {what}",
    "service": "says that a service is where it may not be: {what}",
    "flood": "says more than the whole plan has, and is not listened to any further: {what}",
    "detour": "does not tell {by} its own address although their session is up; packets go by "
    "another way: {what}",
    "order": "says that the operator has ordered to discard {what}, which the signed order does "
    "not name",
}
_TAKEN = ("detour", "flood", "order")
"""Kinds of which it is not said that none of it is taken."""


@dataclass(frozen=True, slots=True)
class NodeWarning:
    """One warning: those of ``by`` hold it against ``mate``; ``kind`` as in :class:`Alarm`, or
    ``vouched`` where two reports contradict each other, or ``accuser`` where ``mate`` itself
    accuses several and nobody else does; ``text`` says what, and what to do."""

    by: tuple[str, ...]
    mate: str
    kind: str
    text: str


def warnings(
    reports: Mapping[str, Report], held: int, now: float, ordered: int = 0
) -> tuple[NodeWarning, ...]:
    """What the recent reports, by node, hold against nodes: what several say comes first. ``held``
    is the generation that the registries hold, ``ordered`` the number of the blackhole order that
    counts, ``now`` seconds since the epoch."""
    return (*_Correlator(reports, held, ordered).warned(), *_vouched(reports, now))


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one node holds against a peer."""

    by: str
    alarm: Alarm
    late: tuple[str, ...]
    """Who of the two is behind, so that their words need not fit yet."""

    @property
    def mate(self) -> str:
        return self.alarm.mate

    @property
    def what(self) -> tuple[str, str]:
        """What has to be the same for two to say the same."""
        return self.alarm.mate, self.kind

    @property
    def kind(self) -> str:
        return self.alarm.kind if self.alarm.kind in _SAID else "other"


class _Correlator:
    """Who says what of whom."""

    def __init__(self, reports: Mapping[str, Report], held: int, ordered: int) -> None:
        self._reports, self._held, self._ordered = reports, held, ordered
        found = {
            (by, alarm.mate, alarm.kind if alarm.kind in _SAID else "other"): alarm
            for by, report in sorted(reports.items())
            for alarm in sorted(report.health.alarms, key=lambda one: (one.mate, one.kind))
            if alarm.mate != by
        }
        self._charges = [
            _Finding(by, alarm, self._late(by, alarm)) for (by, _, _), alarm in found.items()
        ]
        prompt = [charge for charge in self._charges if not charge.late]
        said = [charge.what for charge in prompt]
        alone: dict[str, set[str]] = {}
        for charge in prompt:
            if said.count(charge.what) < CONFIRMED:
                alone.setdefault(charge.by, set()).add(charge.mate)
        # Nor does the word of one that accuses everybody make another's the word of two.
        self._accusers = {by for by, mates in alone.items() if len(mates) >= SEVERAL}
        self._agreed: dict[tuple[str, str], list[_Finding]] = {}
        for charge in prompt:
            if charge.by not in self._accusers:
                self._agreed.setdefault(charge.what, []).append(charge)
        self._agreed = {w: c for w, c in self._agreed.items() if len(c) >= CONFIRMED}

    def warned(self) -> Iterator[NodeWarning]:
        """What several say; then who accuses several alone; then each one's word alone."""
        for (mate, kind), charges in sorted(self._agreed.items()):
            names = tuple(charge.by for charge in charges)
            text = _told(names, charges[0]) + self._verdict(mate, kind)
            yield NodeWarning(names, mate, charges[0].alarm.kind, text)
        for by in sorted(self._reports, key=lambda one: (one not in self._accusers, one)):
            yield from self._alone(by)

    def _alone(self, by: str) -> Iterator[NodeWarning]:
        left = [
            charge
            for charge in self._charges
            if charge.by == by and charge.what not in self._agreed
        ]
        several = len({charge.mate for charge in left}) >= SEVERAL
        if several:
            yield NodeWarning((), by, "accuser", self._of_accuser(by, left))
        for charge in left[: SHOWN if several else None]:
            text = _told((by,), charge) + self._doubt(charge)
            yield NodeWarning((by,), charge.mate, charge.alarm.kind, text)

    def _of_accuser(self, by: str, charges: Sequence[_Finding]) -> str:
        mates = sorted({charge.mate for charge in charges})
        names = ", ".join(mates[:SHOWN]) + (
            f" and {len(mates) - SHOWN} more" if len(mates) > SHOWN else ""
        )
        text = f"{by} alone holds {len(charges)} things against {len(mates)} nodes ({names}). "
        if by not in self._accusers:
            return text + "Not all of them are on the same orders and generation: look again then."
        return text + (
            f"No other node says the same of them, so {by} itself is the likelier one to be broken "
            f"or in other hands: look at it first (`mesh drain {by}`, then `mesh replace {by}`)."
        )

    def _doubt(self, charge: _Finding) -> str:
        if charge.late:
            which = f"generation {self._held}"
            if charge.kind == "order":
                which += f" and blackhole order {self._ordered}" if self._ordered else ""
            return f"{' and '.join(charge.late)} not on {which} yet: look again then."
        if charge.by in self._accusers:
            return f"Nobody else says so; {charge.by} is the likelier one to be broken."
        return (
            f"Nobody else says so: {charge.mate} or {charge.by} is broken or in other hands. Find "
            f"out which, `mesh drain` it and `mesh replace` it."
        )

    def _verdict(self, mate: str, kind: str) -> str:
        others = sorted(m for m, k in self._agreed if k == kind == "order" and m != mate)
        if others:
            # Reflectors pass on what another reflector says.
            return (
                f"One of {', '.join(sorted((mate, *others)))} invents it, and the others pass it "
                f"on: find out which, and `mesh replace` it."
            )
        drain = "" if kind == "order" else f"`mesh drain {mate}`, then "
        return f"{mate} is broken or in other hands: {drain}`mesh replace {mate}`."

    def _late(self, by: str, alarm: Alarm) -> tuple[str, ...]:
        late: list[str] = []
        for node in (by, alarm.mate):
            report = self._reports.get(node)
            behind = report is not None and report.applied not in (0, self._held)
            if alarm.kind == "order":
                # Who has said nothing lately may know the last order as little.
                behind |= report is None or report.health.blackhole < self._ordered
            if behind:
                late.append(node)
        return tuple(late)


def _told(by: Collection[str], charge: _Finding) -> str:
    # A node's words: whoever holds it writes them, and a terminal reads them.
    what, names = printable(charge.alarm.what), " and ".join(by)
    said = _SAID.get(charge.kind, "is not believed: {what}").format(by=names, what=what)
    text = f"{', '.join(by)}: {charge.mate} {said}. "
    if charge.kind not in _TAKEN:
        text += f"{names} {'takes' if len(by) == 1 else 'take'} none of it. "
    return text


def _vouched(reports: Mapping[str, Report], now: float) -> Iterator[NodeWarning]:
    """Ways over a tunnel that its far end calls down. No filter sees that: the near end alone
    vouches for it."""
    for by, report in sorted(reports.items()):
        if not is_recent(report, now):
            continue
        vouched = {
            (mate, far): way[-1] for way in report.health.ways for mate, far in pairwise(way)
        }
        for (mate, far), target in sorted(vouched.items()):
            if far in reports and _is_cut(reports[far], mate):
                yield NodeWarning(
                        (by,), mate, "vouched",
                        f"{by}: what is for {target} goes through {mate}, which says that its "
                        f"tunnel to {far} is up; {far} says that it is down. One of the two is "
                        f"broken or lies: find out which, `mesh drain` it and `mesh replace` it.",
                    )  # fmt: skip


def _is_cut(report: Report, mate: str) -> bool:
    """Whether a node has had no tunnel to a peer for a while: it goes around."""
    state = report.health.sessions.get("u_" + mate.replace("-", "_"), "")
    return state != "Established" and any(way[-1:] == (mate,) for way in report.health.ways)
