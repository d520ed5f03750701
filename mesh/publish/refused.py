"""Manifests and orders that nodes refuse, by their reports."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.trust.documents import Refusal, Report

_NAMES = {
    "manifest": "generation",
    "drain": "drain order",
    "blackhole": "blackhole order",
    "hold": "hold order",
    "rollout": "rollout order",
}


def refusing(reports: Iterable[Report], digest: str) -> dict[str, Refusal]:
    """The nodes that refuse the envelope with that digest, by their last reports."""
    latest = {report.node: report for report in sorted(reports, key=lambda one: one.sequence)}
    return {
        node: refusal
        for node, report in sorted(latest.items())
        for refusal in report.health.refusals
        if refusal.digest == digest
    }


def refusal_text(node: str, refusal: Refusal) -> str:
    """A refusal as text: node, what it refuses, why, and what to do."""
    what = f"{_NAMES[refusal.what]} {refusal.number}" if refusal.number else f"a {refusal.what}"
    return (
        f"{node} refuses {what}: {refusal.reason}; if this is the right stack, give the node a "
        f"new server (mesh replace {node})"
    )
