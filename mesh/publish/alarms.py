"""Which nodes are reported as broken by other nodes, as warnings for the operator.

Whoever controls a node controls its reports. So an alarm of one node alone leaves open which of
the two is broken: the reporter or its peer. Where two nodes report the same of a peer, and neither
of them reports half the mesh, the peer is the broken one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mesh.foreign import printable
from mesh.publish.recent import is_recent
from mesh.trust.documents import Alarm, Report

CONFIRMED = 2
"""Nodes that have to report the same of a peer."""
SEVERAL = 2
"""A node that reports so many peers, unconfirmed, is itself the suspect."""
SHOWN = 3
"""Unconfirmed warnings that are shown of a node that reports several peers."""

_MESSAGES = {
    "prefix": "announces a route to {what}, which no node owns",
    "owner": "announces an address for a node that does not own it: {what}",
    "link": "announces a path over a tunnel that is not in the plan: {what}",
    "service": "announces a service at a node that does not serve it: {what}",
    "flood": "announces more routes than the plan has, and its further routes are ignored: {what}",
    "detour": "does not announce its own address to {by} although their session is up; packets "
    "take another path: {what}",
    "order": "announces a blackhole for {what}, which is not in the signed order",
}
_IN_USE = ("detour", "flood", "order")
"""Kinds for which it is not stated that the routes are rejected."""


@dataclass(frozen=True, slots=True)
class NodeWarning:
    """Nodes ``by`` warn of the peer ``mate``; ``kind`` as in :class:`Alarm`, or ``vouched`` where
    two reports contradict each other, or ``accuser`` where ``mate`` reports several peers and no
    other node confirms it; ``text`` states what is wrong and what to do."""

    by: tuple[str, ...]
    mate: str
    kind: str
    text: str


def warnings(
    reports: Mapping[str, Report], held: int, now: float, ordered: int = 0
) -> tuple[NodeWarning, ...]:
    """Warnings from the recent reports, by node; confirmed ones first. ``held`` is the generation
    at the registries, ``ordered`` the number of the blackhole order in force, ``now`` seconds
    since the epoch."""
    return (*_Correlator(reports, held, ordered).warnings(), *_contradictions(reports, now))


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one node reports of a peer."""

    by: str
    alarm: Alarm
    late: tuple[str, ...]
    """Which of the two is behind: the alarm may only come from that."""

    @property
    def peer(self) -> str:
        return self.alarm.mate

    @property
    def subject(self) -> tuple[str, str]:
        """What is equal in two findings that confirm each other."""
        return self.alarm.mate, self.kind

    @property
    def kind(self) -> str:
        return self.alarm.kind if self.alarm.kind in _MESSAGES else "other"


class _Correlator:
    """Finds which alarms confirm each other."""

    def __init__(self, reports: Mapping[str, Report], held: int, ordered: int) -> None:
        self._reports, self._held, self._ordered = reports, held, ordered
        alarms = {
            (by, alarm.mate, alarm.kind if alarm.kind in _MESSAGES else "other"): alarm
            for by, report in sorted(reports.items())
            for alarm in sorted(report.health.alarms, key=lambda one: (one.mate, one.kind))
            if alarm.mate != by
        }
        self._findings = [
            _Finding(by, alarm, self._late(by, alarm)) for (by, _, _), alarm in alarms.items()
        ]
        current = [finding for finding in self._findings if not finding.late]
        subjects = [finding.subject for finding in current]
        unconfirmed: dict[str, set[str]] = {}
        for finding in current:
            if subjects.count(finding.subject) < CONFIRMED:
                unconfirmed.setdefault(finding.by, set()).add(finding.peer)
        # A suspect does not confirm the finding of another node either.
        self._suspects = {by for by, peers in unconfirmed.items() if len(peers) >= SEVERAL}
        agreed: dict[tuple[str, str], list[_Finding]] = {}
        for finding in current:
            if finding.by not in self._suspects:
                agreed.setdefault(finding.subject, []).append(finding)
        self._agreed = {s: found for s, found in agreed.items() if len(found) >= CONFIRMED}

    def warnings(self) -> Iterator[NodeWarning]:
        """Confirmed findings; then suspects; then unconfirmed findings of each node."""
        for (peer, kind), findings in sorted(self._agreed.items()):
            names = tuple(finding.by for finding in findings)
            text = _text(names, findings[0]) + self._verdict(peer, kind)
            yield NodeWarning(names, peer, findings[0].alarm.kind, text)
        for by in sorted(self._reports, key=lambda one: (one not in self._suspects, one)):
            yield from self._unconfirmed(by)

    def _unconfirmed(self, by: str) -> Iterator[NodeWarning]:
        left = [
            finding
            for finding in self._findings
            if finding.by == by and finding.subject not in self._agreed
        ]
        several = len({finding.peer for finding in left}) >= SEVERAL
        if several:
            yield NodeWarning((), by, "accuser", self._of_suspect(by, left))
        for finding in left[: SHOWN if several else None]:
            text = _text((by,), finding) + self._doubt(finding)
            yield NodeWarning((by,), finding.peer, finding.alarm.kind, text)

    def _of_suspect(self, by: str, findings: Sequence[_Finding]) -> str:
        peers = sorted({finding.peer for finding in findings})
        names = ", ".join(peers[:SHOWN]) + (
            f" and {len(peers) - SHOWN} more" if len(peers) > SHOWN else ""
        )
        text = f"{by} alone reports {len(findings)} alarms on {len(peers)} nodes ({names}). "
        if by not in self._suspects:
            return text + "Not all of them have the same orders and generation: look again then."
        return text + (
            f"No other node confirms them, so {by} itself is probably broken or compromised: "
            f"check it first (`mesh drain {by}`, then `mesh replace {by}`)."
        )

    def _doubt(self, finding: _Finding) -> str:
        if finding.late:
            which = f"generation {self._held}"
            if finding.kind == "order":
                which += f" and blackhole order {self._ordered}" if self._ordered else ""
            return f"{' and '.join(finding.late)} not on {which} yet: look again then."
        if finding.by in self._suspects:
            return f"No other node confirms it; {finding.by} is probably the broken one."
        return (
            f"No other node confirms it: {finding.peer} or {finding.by} is broken or compromised. "
            f"Find out which, `mesh drain` it and `mesh replace` it."
        )

    def _verdict(self, peer: str, kind: str) -> str:
        others = sorted(p for p, k in self._agreed if k == kind == "order" and p != peer)
        if others:
            # Reflectors pass on the routes of another reflector.
            return (
                f"One of {', '.join(sorted((peer, *others)))} originates it, and the others pass "
                f"it on: find out which, and `mesh replace` it."
            )
        drain = "" if kind == "order" else f"`mesh drain {peer}`, then "
        return f"{peer} is broken or compromised: {drain}`mesh replace {peer}`."

    def _late(self, by: str, alarm: Alarm) -> tuple[str, ...]:
        late: list[str] = []
        for node in (by, alarm.mate):
            report = self._reports.get(node)
            behind = report is not None and report.applied not in (0, self._held)
            if alarm.kind == "order":
                # A node without a recent report may not have the last order either.
                behind |= report is None or report.health.blackhole < self._ordered
            if behind:
                late.append(node)
        return tuple(late)


def _text(by: Collection[str], finding: _Finding) -> str:
    # The alarm's text comes from a node, and goes to a terminal.
    what, names = printable(finding.alarm.what), " and ".join(by)
    message = _MESSAGES.get(finding.kind, "announces what is rejected: {what}")
    text = f"{', '.join(by)}: {finding.peer} {message.format(by=names, what=what)}. "
    if finding.kind not in _IN_USE:
        text += f"{names} {'rejects' if len(by) == 1 else 'reject'} it. "
    return text


def _contradictions(reports: Mapping[str, Report], now: float) -> Iterator[NodeWarning]:
    """Paths over a tunnel that its far end reports as down. No filter catches these: only the near
    end announces such a path."""
    for by, report in sorted(reports.items()):
        if not is_recent(report, now):
            continue
        announced = {
            (near, far): path[-1] for path in report.health.ways for near, far in pairwise(path)
        }
        for (near, far), target in sorted(announced.items()):
            if far in reports and _is_cut(reports[far], near):
                yield NodeWarning(
                        (by,), near, "vouched",
                        f"{by}: traffic to {target} goes through {near}, which announces its "
                        f"tunnel to {far} as up; {far} reports it as down. One of the two is "
                        f"broken or compromised: find out which, `mesh drain` it and "
                        f"`mesh replace` it.",
                    )  # fmt: skip


def _is_cut(report: Report, peer: str) -> bool:
    """Whether a node's tunnel to a peer has been down for a while: it routes around it."""
    state = report.health.sessions.get("u_" + peer.replace("-", "_"), "")
    return state != "Established" and any(path[-1:] == (peer,) for path in report.health.ways)
