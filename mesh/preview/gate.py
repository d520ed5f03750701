"""What must not happen by an update that nobody looked at: rules over a preview.

A policy pack sees a resource's inputs, and neither the operation nor what stands; so these rules
cannot be written there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.preview.access import removed_keys, removed_networks
from mesh.preview.outages import ALLOW, RULES, UNHEARD, Case, Heard, Limit
from mesh.preview.steps import Preview
from mesh.preview.summary import disturbed, is_first
from mesh.preview.unattended import Asked, unattended
from mesh.spec.problems import Problem

__all__ = ["Asked", "Heard", "Limit", "gate", "wants_announcers"]


def gate(
    preview: Preview, asked: Asked, limit: Limit, heard: Heard = UNHEARD
) -> tuple[Problem, ...]:
    """Why this update must not run unattended; empty where it may.

    ``heard`` is who announces in effect. Where that could not be asked nothing may disturb an
    announcer, unless the plan is to be believed. The first publication of a stack may do anything
    that was asked for, where nothing is announced yet.
    """
    refused = tuple(unattended(preview, asked))
    if is_first(preview) and not _anybody(heard):
        return refused
    if preview.after is None:
        return refused + tuple(_unjudged(preview, asked))
    case = Case.of(preview, preview.after, asked, limit, heard)
    return refused + tuple(problem for rule in RULES for problem in rule(case))


def wants_announcers(preview: Preview) -> bool:
    """Whether the gate has to know who announces in effect to judge this preview, or who has logged
    in by what."""
    if preview.after is None:
        return False
    if preview.before is not None and (
        removed_networks(preview.before, preview.after)
        or removed_keys(preview.before, preview.after)
    ):
        return True
    case = Case.of(preview, preview.after, Asked(), Limit(), UNHEARD)
    return any(reach.going or reach.anew for reach in case.reaches())


def _anybody(heard: Heard) -> bool:
    """Whether somebody announces, or may."""
    return any((heard.announcing or {}).values()) or any(heard.unsure.values())


def _unjudged(preview: Preview, asked: Asked) -> Iterator[Problem]:
    hit = disturbed(preview)
    if hit:
        yield Problem(
            "preview", ", ".join(hit),
            "it does not hold the plan, so nobody can tell whether the others suffice",
            "preview with --show-sames",
        )  # fmt: skip
    published = preview.generation
    if published is not None and published.verb == "update" and not asked.restart_sessions:
        yield Problem(
            "preview", published.name,
            "the plan to be cannot be read in it, so nobody can tell which sessions start anew",
            f"preview again, or let all of them: {ALLOW}",
        )  # fmt: skip
