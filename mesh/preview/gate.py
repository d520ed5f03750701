"""What an unattended update must not do: rules over a preview.

A policy pack sees a resource's inputs only, neither the operation nor the deployed resource, so
these rules cannot be written there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.preview.access import removed_keys, removed_networks
from mesh.preview.outages import NOT_ASKED, RESTART_SESSIONS, RULES, Case, Limit, LiveAnnouncers
from mesh.preview.steps import Preview
from mesh.preview.summary import disturbed, is_first
from mesh.preview.unattended import Asked, unattended
from mesh.spec.problems import Problem

__all__ = ["Asked", "Limit", "LiveAnnouncers", "gate", "wants_announcers"]


def gate(
    preview: Preview, asked: Asked, limit: Limit, live: LiveAnnouncers = NOT_ASKED
) -> tuple[Problem, ...]:
    """Why this update must not run unattended; empty where it may.

    ``live`` is who announces in effect. Where that could not be asked, nothing may disturb an
    announcer, except with ``--by-plan``. A stack's first publication may do anything that was asked
    for, where nothing is announced yet.
    """
    refused = tuple(unattended(preview, asked))
    if is_first(preview) and not _any_announcer(live):
        return refused
    if preview.after is None:
        return refused + tuple(_unjudged(preview, asked))
    case = Case.of(preview, preview.after, asked, limit, live)
    return refused + tuple(problem for rule in RULES for problem in rule(case))


def wants_announcers(preview: Preview) -> bool:
    """Whether the gate needs the nodes' reports to judge this preview."""
    if preview.after is None:
        return False
    if preview.before is not None and (
        removed_networks(preview.before, preview.after)
        or removed_keys(preview.before, preview.after)
    ):
        return True
    case = Case.of(preview, preview.after, Asked(), Limit(), NOT_ASKED)
    return any(reach.going or reach.anew for reach in case.reaches())


def _any_announcer(live: LiveAnnouncers) -> bool:
    """Whether any node announces, or may."""
    return any((live.announcing or {}).values()) or any(live.unsure.values())


def _unjudged(preview: Preview, asked: Asked) -> Iterator[Problem]:
    hit = disturbed(preview)
    if hit:
        yield Problem(
            "preview", ", ".join(hit),
            "it does not contain the plan, so it is unknown whether the others suffice",
            "preview with --show-sames",
        )  # fmt: skip
    published = preview.generation
    if published is not None and published.verb == "update" and not asked.restart_sessions:
        yield Problem(
            "preview", published.name,
            "the new plan in it cannot be read, so it is unknown which sessions start anew",
            f"preview again, or let all of them: {RESTART_SESSIONS}",
        )  # fmt: skip
