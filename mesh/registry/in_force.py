"""What nodes report to have in force."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from mesh.trust.documents import Report


def most_in_force(reports: Iterable[Report]) -> int:
    """The generation that most nodes have in force, the highest of several; 0 without any. Updates
    that fail are compared with it, and go back to it."""
    times = Counter(report.applied for report in reports if report.applied)
    return max(times, key=lambda number: (times[number], number), default=0)
