"""Nodes that are off or cut off: no wave waits for them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from mesh.plan import Plan
from mesh.publish.recent import late, silent
from mesh.publish.unreachable import unreachable
from mesh.trust.documents import Report

LOST_SECONDS = 2.0
"""Seconds after which a node that no other node reaches counts as away: it may be about to report
that its own BIRD has started anew."""

SAYS_NOTHING = "has not reported for some time"
UNREACHED = "no other node reaches it"


def away(plan: Plan, reports: Mapping[str, Report], members: Iterable[str]) -> dict[str, str]:
    """The members that say nothing, and those that no other node reaches, each with why."""
    everyone = frozenset(members)
    return dict.fromkeys(_unreached(plan, reports) & everyone, UNREACHED) | dict.fromkeys(
        silent(reports, everyone), SAYS_NOTHING
    )


def awaited(plan: Plan, reports: Mapping[str, Report], members: Iterable[str]) -> frozenset[str]:
    """The members of which a registry may hear within some seconds."""
    return late(reports, members) - _unreached(plan, reports)


def _unreached(plan: Plan, reports: Mapping[str, Report]) -> frozenset[str]:
    found = unreachable(plan, reports, reports.keys(), time.time())
    return frozenset(
        node for node, one in found.items() if one.seconds is None or one.seconds >= LOST_SECONDS
    )
