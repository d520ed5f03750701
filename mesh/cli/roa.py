"""``mesh check --roa``: the RPKI state of the aggregates, and the objects that registries should
hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from mesh.cli.tables import WIDE, table
from mesh.hanging import Hanging
from mesh.plan import make
from mesh.rpki import PlanValidity, State, Vrp, objects, validate_plan
from mesh.spec import Problem, Spec
from mesh.spec.problems import shown
from mesh.spec.types import InvalidValue
from mesh.spec.vrps import vrp_source

OPTION = "--roa"
COLOURS = {State.VALID: "green", State.NOT_FOUND: "yellow", State.INVALID: "red"}


def judged(spec: Spec, source: str) -> PlanValidity:
    """Validate a stack's aggregates by the VRPs of a source; a relative path is read from the
    current folder.

    NotFound is an error where the stack has ``rpki.demand``: its preview would stop.
    """
    try:
        named = vrp_source(source)
    except InvalidValue as error:
        return PlanValidity((), 0, (Problem(OPTION, shown(source), str(error), error.cure),))
    return validate_plan(make(spec), named, Path(), OPTION, spec.rpki.demand is not None)


def as_json(found: PlanValidity) -> dict[str, Any]:
    """The result as JSON, beside the problems."""
    announcements = [finding.announcement for finding in found.findings]
    errors = any(problem.severity == "error" for problem in found.problems)
    return {
        "valid": not errors,
        "vrps": found.seen,
        "aggregates": [
            {
                "prefix": str(finding.announcement.prefix),
                "origin": finding.announcement.origin,
                "state": finding.verdict.state,
                "reason": finding.verdict.reason,
                "why": finding.why,
                "cure": finding.cure,
                "covering": [_vrp(each) for each in finding.verdict.covering],
                "notes": list(finding.notes),
            }
            for finding in found.findings
        ],
        "objects": asdict(objects(announcements)),
    }


def _vrp(vrp: Vrp) -> dict[str, Any]:
    return {"prefix": str(vrp.prefix), "maxLength": vrp.max_length, "asn": vrp.asn}


def show(found: PlanValidity, console: Console) -> None:
    """Print it; nothing where no list was read, which is a problem already printed."""
    if not found.findings:
        return
    if not console.is_terminal:
        console.width = WIDE
    console.print(f"\nby {found.seen} VRPs:")
    verdicts = table("aggregate", "origin", "RPKI", "why")
    for finding in found.findings:
        state = finding.verdict.state
        verdicts.add_row(
            str(finding.announcement.prefix),
            f"AS{finding.announcement.origin}",
            f"[{COLOURS[state]}]{state}[/]",
            escape(finding.why),
        )
    console.print(verdicts)
    for note in (note for finding in found.findings for note in finding.notes):
        console.print(Hanging(f"note: {note}"), soft_wrap=True)
    wanted = objects([finding.announcement for finding in found.findings])
    console.print("\nROAs to have at the RIR, and no others:")
    console.print("\n".join(wanted.roas))
    console.print("\nObjects to have at an IRR (not looked up; with your mnt-by and source):")
    console.print("\n\n".join(wanted.irr))
