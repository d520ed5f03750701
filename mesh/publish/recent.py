"""Whether a node's last report is recent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from mesh.trust.documents import Report

SILENT_SECONDS = 45.0
"""Without a report for so long, one and a half heartbeats of 30 s, a node is *silent*."""

LATE_SECONDS = 300.0
"""A node whose last report is older is gone. Until then its report may only be late: its registry
was away, or its machine is busy."""

AHEAD_SECONDS = 300.0
"""Seconds by which a node's clock may be ahead of ours. A report with a later time does not count:
a compromised node could sign it in advance."""


def is_recent(report: Report, now: float) -> bool:
    """Whether a report is recent; ``now`` is seconds since the epoch."""
    return -AHEAD_SECONDS <= seconds_since(report, now) <= SILENT_SECONDS


def seconds_since(report: Report, now: float) -> float:
    """The age of a report by the node's clock; negative where that is ahead."""
    return now - reported_at(report)


def reported_at(report: Report) -> float:
    """When a report was made, by the node's clock (seconds since the epoch)."""
    return (report.sequence if report.clock is None else report.clock) / 1e6


def silent(reports: Mapping[str, Report], members: Iterable[str]) -> frozenset[str]:
    """The members without a recent report. None where that were all: it is this machine's clock
    then that is wrong."""
    everyone = frozenset(members)
    found = everyone - heard(reports)
    return found if found != everyone else frozenset()


def heard(reports: Mapping[str, Report]) -> frozenset[str]:
    """The nodes with a recent report."""
    now = time.time()
    return frozenset(node for node, report in reports.items() if is_recent(report, now))


def late(reports: Mapping[str, Report], members: Iterable[str]) -> frozenset[str]:
    """The members that may report within one and a half heartbeats: a registry that is new, or was
    away, has not heard of them yet."""
    now = time.time()
    unheard = frozenset(members).difference(reports)
    gone = {node for node in reports if abs(seconds_since(reports[node], now)) > LATE_SECONDS}
    return unheard | (silent(reports, members) - gone)
