"""A plan judged by the VRPs of a source: what ``mesh check --roa`` shows, and a stack demands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mesh.plan import Plan
from mesh.rpki.errors import Unread
from mesh.rpki.preflight import Finding, announcements, preflight, problems
from mesh.rpki.sources import VrpList, read
from mesh.spec import Problem
from mesh.spec.vrps import VrpSource, VrpUrl


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a source says of a plan; without findings where it could not be read, which is one of
    the ``problems`` then. ``seen`` is how many VRPs it held in all."""

    findings: tuple[Finding, ...]
    seen: int
    problems: tuple[Problem, ...]


def judge(plan: Plan, source: VrpSource, root: Path, key: str, demanded: bool) -> Judgement:
    """Whether the announcements of a plan are Valid.

    A relative file lies in ``root``; ``key`` is where the source was named. With ``demanded`` an
    announcement that is NotFound is an error, else a warning.
    """
    said = announcements(plan)
    try:
        listed = read(source, [each.prefix for each in said], root)
    except Unread as error:
        return Judgement((), 0, (Problem(key, str(source), str(error), error.cure),))
    findings = preflight(said, listed.vrps)
    found = (
        *_forgeable(key, source),
        *_expired(key, source, listed),
        *problems(findings, demanded),
    )
    return Judgement(findings, listed.seen, found)


def _forgeable(key: str, source: VrpSource) -> Iterator[Problem]:
    # RTR knows nothing better here, and is spoken where the way is trusted (RFC 8210, section 7).
    if isinstance(source, VrpUrl) and source.forgeable:
        yield Problem(
            key, str(source),
            "it comes over plain HTTP: whoever is on the way may say that all is Valid",
            "name it as https://, or have it on this machine",
            "warning",
        )  # fmt: skip


def _expired(key: str, source: VrpSource, listed: VrpList) -> Iterator[Problem]:
    if listed.expired:
        yield Problem(
            key, str(source),
            f"{listed.expired} of its VRPs for these prefixes have expired, and are left out",
            "have the validator write it anew: a ROA that nobody renewed makes no route Valid",
            "warning",
        )  # fmt: skip
