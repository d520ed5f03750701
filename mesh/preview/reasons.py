"""Why the next update publishes, from the step of the publication alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mesh.foreign import printable
from mesh.infra.dynamic.candidate import RECEIVERS, SESSIONS
from mesh.infra.dynamic.publish import UPDATES, rendered
from mesh.preview.steps import Preview, Step
from mesh.publish.order import load_fleet
from mesh.publish.rendered import differing
from mesh.spec import PASSWORD_PREFIX, RECEIVER_PREFIX

PASSWORDS = "passwords"
EARLIER = "an earlier version of this code, which published last"


def reasons(preview: Preview) -> tuple[str, ...]:
    """The reasons of a publication; empty where there is none, and for the first one."""
    step = preview.generation
    if step is None or step.verb != "update":
        return ()
    found = [*_before(preview, step), *visible(step)]
    known = password_changes(step)
    found += [f"mesh:{PASSWORD_PREFIX}{name}" for name in sorted(known or ())]
    others = _changes(step, RECEIVERS)
    found += [f"mesh:{RECEIVER_PREFIX}{name}" for name in sorted(others or ())]
    if found:
        return tuple(found)
    if "rendered" not in step.was:
        return (EARLIER,)
    names = _rendered_otherwise(preview, step)
    if names:
        return (f"rendered files: {names}",)
    # A state from before candidates: only the passwords cannot be seen.
    return (PASSWORDS,) if known is None else ("rendered files",)


def visible(step: Step) -> tuple[str, ...]:
    """The inputs of a publication whose change can be seen, without its counters."""
    return tuple(key for key in step.differing if key in UPDATES)


def password_changes(step: Step) -> Collection[str] | None:
    """The names of the passwords that change, by their digests; None where there are no digests."""
    return _changes(step, SESSIONS)


def _changes(step: Step, kind: str) -> Collection[str] | None:
    """The names of the secrets of a kind that change."""
    old, new = step.old.get("wanted"), step.new.get("wanted")
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return None
    names = {name for name in {*old, *new} if name.startswith(kind)}
    return {name.removeprefix(kind) for name in names if old.get(name) != new.get(name)}


def _before(preview: Preview, step: Step) -> Iterator[str]:
    """What was left by earlier runs."""
    number = _number(step.was.get("generation"))
    candidate = preview.candidate
    seen = step.old.get("candidate")
    left = candidate is not None and candidate.old.get("serial") not in (None, seen)
    if step.new.get("unfinished") or (seen is not None and left):
        yield f"an earlier update that began after generation {number} and did not finish"
    if step.was.get("held") is False:
        yield f"registries that do not hold generation {number}, or hold one above it"


def _rendered_otherwise(preview: Preview, step: Step) -> str:
    """The nodes that get other files from this checkout, by the facts in the state."""
    before, given = step.was.get("rendered"), step.new.get("instances")
    if preview.after is None or not isinstance(given, Mapping) or not isinstance(before, Mapping):
        return ""
    try:
        fleet = load_fleet(str(step.was.get("fleet")))
        return printable(differing(before, rendered(step.new, fleet)))
    except Exception:  # templates raise anything; the update will report it
        return "they cannot be rendered"


def _number(value: object) -> str:
    return str(int(value)) if isinstance(value, int | float) else "?"
