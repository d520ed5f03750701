"""What a refresh finds changed by hand, and what the next update does about it.

A refresh writes it as texts into two outputs: ``drift`` for what an update repairs, ``unrepaired``
for what it does not, with what to do. The other outputs stay as configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pulumi.dynamic import DiffResult

from mesh.infra.dynamic import base
from mesh.infra.dynamic.base import Properties, progress

NONE: Properties = {"drift": [], "unrepaired": []}
"""The two outputs of what has just been made or repaired."""


def otherwise(field: str, found: object, wanted: object) -> list[str]:
    """The text for a field that is not what it should be; empty where it is."""
    if found == wanted:
        return []
    from mesh.spec.problems import shown

    return [f"its {field} is {shown(found)}, not {shown(wanted)}"]


def difference(
    what: str,
    olds: Mapping[str, Any],
    news: Mapping[str, Any],
    updates: Iterable[str] = (),
    replaces: Iterable[str] = (),
    *,
    delete_before_replace: bool = False,
) -> DiffResult:
    """A diff by two lists of keys, and by what the last refresh found of ``what``."""
    found = base.difference(olds, news, updates, replaces, delete_before_replace)
    for reason in olds.get("unrepaired") or ():
        progress(f"warning: {what}: {reason}")
    for reason in olds.get("drift") or ():
        progress(f"{what}: {reason}; `pulumi up` repairs it")
        found.changes = True
    return found
