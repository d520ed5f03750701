"""What nodes report on one generation."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.publish.refused import refusal_text
from mesh.trust.documents import Manifest, Refusal, Report


def outcomes(reports: list[Report], manifest: Manifest, digest: str) -> dict[str, tuple[str, str]]:
    """Each node's outcome and reason for exactly this manifest."""
    latest = latest_on(reports, manifest, digest)
    return {node: (report.outcome, report.reason) for node, report in latest.items()}


def latest_on(reports: list[Report], manifest: Manifest, digest: str) -> dict[str, Report]:
    """The last report of each node on exactly this manifest: number, hash and nonce are equal."""
    latest: dict[str, Report] = {}
    for report in reports:
        fits = (report.generation, report.manifest_sha256, report.nonce) == (
            manifest.generation,
            digest,
            manifest.nonce,
        )
        held = latest.get(report.node)
        if fits and (held is None or held.sequence < report.sequence):
            latest[report.node] = report
    return latest


def not_applied(
    manifest: Manifest,
    failed: Mapping[str, str],
    held: Mapping[str, str],
    missing: list[str],
    refused: Mapping[str, Refusal],
) -> str:
    """Why a generation is not in force on all nodes, a reason for each."""
    lines = [
        f"{node} rolled back generation {manifest.generation}: {why}"
        for node, why in sorted(failed.items())
    ]
    lines += [
        f"{node} is held until {until}, and does not apply generation {manifest.generation} before"
        for node, until in held.items()
    ]
    lines += [refusal_text(node, refusal) for node, refusal in sorted(refused.items())]
    silent = [node for node in missing if node not in refused]
    if silent:
        lines.append(
            f"{', '.join(silent)}: no report on generation {manifest.generation} in time; see "
            f"journalctl -u anycast-mesh-agent there, or continue without it (mesh:without)"
        )
    return "; ".join(lines)
