"""Origin validation of a plan by the VRPs of a source, for ``mesh check --roa`` and the stack's own
check."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh.plan import Plan
from mesh.rpki.errors import SourceError
from mesh.rpki.preflight import Finding, announcements, preflight, problems
from mesh.rpki.sources import VrpList, read
from mesh.spec import Problem
from mesh.spec.vrps import VrpSource, VrpUrl


@dataclass(frozen=True, slots=True)
class PlanValidity:
    """The result for a plan. A source that cannot be read gives no findings and a problem. ``seen``
    is how many VRPs the source has in all."""

    findings: tuple[Finding, ...]
    seen: int
    problems: tuple[Problem, ...]


def validate_plan(
    plan: Plan, source: VrpSource, root: Path, key: str, demanded: bool
) -> PlanValidity:
    """Whether the announcements of a plan are Valid.

    A relative file is looked up in ``root``; ``key`` is the configuration key of the source. With
    ``demanded`` a NotFound announcement is an error, otherwise a warning.
    """
    announced = announcements(plan)
    try:
        listed = read(source, [each.prefix for each in announced], root)
    except SourceError as error:
        return PlanValidity((), 0, (Problem(key, str(source), str(error), error.cure),))
    findings = preflight(announced, listed.vrps)
    found = (
        *_forgeable(key, source),
        *_expired(key, source, listed),
        *problems(findings, demanded),
    )
    return PlanValidity(findings, listed.seen, found)


def _forgeable(key: str, source: VrpSource) -> Iterator[Problem]:
    # RTR has no other transport here: it is for trusted networks (RFC 8210, section 7).
    if isinstance(source, VrpUrl) and source.forgeable:
        yield Problem(
            key, str(source),
            "it comes over plain HTTP: anybody on the path can make everything Valid",
            "use https://, or a file on this machine",
            "warning",
        )  # fmt: skip


def _expired(key: str, source: VrpSource, listed: VrpList) -> Iterator[Problem]:
    if listed.expired:
        yield Problem(
            key, str(source),
            f"{listed.expired} of its VRPs for these prefixes have expired and are ignored",
            "have the validator write it again; an expired ROA makes no route Valid",
            "warning",
        )  # fmt: skip
