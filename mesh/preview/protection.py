"""What is protected from deletion, as the engine has it: before an update, and afterwards.

The stack file states what is wanted (``mesh:protect``), the engine's flags what is in effect.
"""

from __future__ import annotations

from collections.abc import Iterator

from mesh.preview.kinds import OPERATOR, PROTECTED
from mesh.preview.reach import Change, Fate
from mesh.preview.steps import Preview, Step

LOST: Fate = "unprotected"
"""Protection goes away by this update."""
MISSING: Fate = "not protected"
"""It is missing, and stays so."""
RESTORED: Fate = "protected"
"""It is missing, and comes back."""


WHY: dict[Fate, str] = {
    LOST: "mesh:protect is false: this update takes its protection from deletion away",
    MISSING: "mesh:protect is false: nothing keeps it from being deleted",
    RESTORED: "its protection was off in the state alone (mesh release, pulumi state unprotect), "
    "and this update brings it back",
}


def protection(preview: Preview) -> Iterator[Change]:
    """The resources whose protection changes, or is missing where the program has it."""
    # Every stack has an operator's key, and it is protected like all others.
    off = any(s.type == OPERATOR and _stays(s) and not s.protected for s in preview.steps)
    for step in sorted(preview.steps, key=lambda each: (each.node or "", each.name)):
        fate = _fate(step, off) if step.custom and _stays(step) else None
        if fate is not None:
            yield Change(step.name, fate, WHY[fate])


def _fate(step: Step, off: bool) -> Fate | None:
    if step.was_protected and not step.protected:
        return LOST
    if step.protected and not step.was_protected and step.verb != "create":
        return RESTORED
    return MISSING if off and not step.protected and _is_to_be(step) else None


def _stays(step: Step) -> bool:
    """Whether the program has the resource: what is deleted, or only looked at, is not protected
    any more."""
    return step.verb in ("create", "update", "replace", "same")


def _is_to_be(step: Step) -> bool:
    """Whether the program protects it, unless ``mesh:protect`` is false."""
    return step.type in PROTECTED and (step.node is not None or step.type == OPERATOR)
