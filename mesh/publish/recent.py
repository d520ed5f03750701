"""When a node's last word is a sign of life."""

from __future__ import annotations

from mesh.trust.documents import Report

SILENT_SECONDS = 45.0
"""A node that has said nothing for so long, a heartbeat of 30 s and a half, is called silent."""

AHEAD_SECONDS = 300.0
"""How far a node's clock may be ahead of ours. What is said of a later time is no sign of life:
whoever holds a node may have it speak once for all times."""


def is_recent(report: Report, now: float) -> bool:
    """Whether a report is a sign of life; ``now`` is seconds since the epoch."""
    return -AHEAD_SECONDS <= seconds_since(report, now) <= SILENT_SECONDS


def seconds_since(report: Report, now: float) -> float:
    """How long ago a node has said this, by its own clock; negative where that is ahead."""
    return now - said_at(report)


def said_at(report: Report) -> float:
    """When a node has said this, by its own clock (seconds since the epoch)."""
    return (report.sequence if report.clock is None else report.clock) / 1e6
