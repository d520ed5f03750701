"""A twin: the configuration of another stack, with its own laid over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mesh.spec.engine import NAMESPACE, Project, defaults, from_engine, paths
from mesh.spec.engine.stack import is_name
from mesh.spec.files import EXAMPLES, handed, stack_file
from mesh.spec.problems import Problem, SpecError, shown
from mesh.spec.secrets import PREFIXES
from mesh.spec.unreadable import not_taken_over

OUT_OF_THE_WORLD = ("demand", "local")
"""Keys of ``mesh:rpki`` that ask the Internet, where a twin asks only what it names itself."""


def twin_of(
    original: Any, overrides: Mapping[str, Any], root: Path
) -> tuple[dict[str, Any], list[Problem]]:
    """The original's keys with the twin's own laid over them, and warnings; the original's secrets
    stay there."""
    if not is_name(original):
        raise SpecError([
            Problem("mesh:twin", shown(original), "a twin names the stack that it copies, and no "
                    "stack can be called so", "write its name without organization and project, "
                    "for example prod")
        ])  # fmt: skip
    project, beside = stack_file(original, root)
    among = root / EXAMPLES / beside.name
    found = handed(project, among if among.exists() and not beside.exists() else beside)
    taken = from_engine(found.config)
    if "twin" in taken:
        raise SpecError(
            [Problem("mesh:twin", original, "that stack is a twin itself", "name its original")]
        )
    own = {key: value for key, value in taken.items() if not key.startswith(PREFIXES)}
    if isinstance(own.get("rpki"), Mapping):
        own["rpki"] = {k: v for k, v in own["rpki"].items() if k not in OUT_OF_THE_WORLD}
    above, warnings = _beyond_the_project(project, own, overrides)
    if found.environment is not None:
        warnings.append(not_taken_over(found.environment, original))
    merged: dict[str, Any] = _over(own, above)
    return merged, warnings


def _beyond_the_project(
    project: Project | None, original: Mapping[str, Any], twin: Mapping[str, Any]
) -> tuple[dict[str, Any], list[Problem]]:
    """The twin's keys without what it has of the project file, where its original says otherwise.

    The engine hands both over alike, so that a twin which sets the project's value itself cannot
    be told from one that sets nothing: a warning says which was taken.
    """
    above, warnings = dict(twin), list[Problem]()
    for path, default in () if project is None else defaults(project):
        (mine, value), (theirs, other) = paths.find(above, path), paths.find(original, path)
        if mine and theirs and value == default and value != other:
            above = paths.put(above, path, other, top=False)
            warnings.append(
                Problem(f"{NAMESPACE}{'.'.join(map(str, path))}", shown(other),
                        "so it is in the original, and otherwise in the project file",
                        "to have another value in the twin, take it out of the project file",
                        "warning")
            )  # fmt: skip
    return above, warnings


def _over(below: Any, above: Any) -> Any:
    """``above`` laid over ``below``: maps are merged key by key, all else is replaced."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {
        key: _over(below[key], above[key]) if key in below and key in above
        else above.get(key, below.get(key))
        for key in [*below, *(key for key in above if key not in below)]
    }  # fmt: skip
