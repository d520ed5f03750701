"""Nodes that are off or cut off: no wave waits for them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from mesh.plan import Plan
from mesh.plan.waves import Wave
from mesh.publish.recent import late, silent
from mesh.publish.unreachable import unreachable
from mesh.trust.documents import Report

LOST_SECONDS = 2.0
"""Seconds after which a node that no other node reaches counts as away: it may be about to report
that its own BIRD has started anew."""

SAYS_NOTHING = "has not reported for some time"
UNREACHED = "no other node reaches it"


@dataclass(frozen=True, slots=True)
class Absence:
    """The ``nodes`` that are away, with why: they go on waiting. ``returning`` are those of them
    that may follow by themselves when they are back, as a wave: more of them at a time would darken
    what others do not announce."""

    nodes: Mapping[str, str]
    returning: Wave

    def with_unreached(self, wave: Wave, gone: Collection[str]) -> Absence:
        """The same with nodes of a wave that nobody reaches when it comes."""
        left = tuple(node for node in wave.nodes if node in gone)
        late = replace(wave, nodes=left, drained=wave.drained.intersection(left))
        return Absence(
            {**self.nodes, **dict.fromkeys(left, UNREACHED)},
            self.returning if self.returning.nodes else late,
        )


NOBODY = Absence({}, Wave((), frozenset(), ""))


def away(plan: Plan, reports: Mapping[str, Report], members: Iterable[str]) -> dict[str, str]:
    """The members that say nothing, and those that no other node reaches, each with why."""
    everyone = frozenset(members)
    lost = unreached(plan, reports, LOST_SECONDS) & everyone
    return dict.fromkeys(lost, UNREACHED) | dict.fromkeys(silent(reports, everyone), SAYS_NOTHING)


def awaited(plan: Plan, reports: Mapping[str, Report], members: Iterable[str]) -> frozenset[str]:
    """The members of which a registry may hear within some seconds."""
    return late(reports, members) - unreached(plan, reports, LOST_SECONDS)


def unreached(plan: Plan, reports: Mapping[str, Report], seconds: float) -> frozenset[str]:
    """The nodes that no other node has reached for so many seconds, as far as that is known."""
    found = unreachable(plan, reports, reports.keys(), time.time())
    return frozenset(
        node for node, one in found.items() if one.seconds is None or one.seconds >= seconds
    )
