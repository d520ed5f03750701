"""The keys that a part of the stack file knows, for the cure of one that it does not know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from mesh.spec.model import SECTIONS
from mesh.spec.section import Section
from mesh.spec.traffic import options


def cure(key: str, path: tuple[str, ...]) -> str:
    """What to write in place of the unknown key at ``path`` below ``mesh:KEY``: the known one that
    is nearest to it, else all that are known there; empty where that is not known."""
    hints = list(_alternatives(SECTIONS[key]))
    for step in path[:-1]:
        hints = [each for hint in hints for each in _below(hint, step)]
    known = [name for hint in hints if _is_section(hint) for name in options(hint)]
    if not known:
        return ""
    plain = {_plain(name): name for name in known}
    nearest = get_close_matches(_plain(path[-1]), plain, 1)
    if nearest:
        return f"write {plain[nearest[0]]}, or remove it"
    return f"remove it, or use one of {', '.join(known)}"


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _alternatives(hint: Any) -> Iterator[Any]:
    """The types that a value may have, without annotations."""
    if get_origin(hint) is Annotated:
        yield from _alternatives(get_args(hint)[0])
    elif get_origin(hint) in (Union, UnionType):
        yield from _of_all(get_args(hint))
    else:
        yield hint


def _of_all(hints: Iterable[Any]) -> Iterator[Any]:
    for each in hints:
        yield from _alternatives(each)


def _below(hint: Any, step: str) -> Iterator[Any]:
    """The types of the value at a key of a section or map, or at an index of a list."""
    if _is_section(hint):
        fields = hint.model_fields.items()
        yield from _of_all(f.annotation for name, f in fields if (f.alias or name) == step)
    elif arguments := get_args(hint):
        yield from _alternatives(arguments[0] if get_origin(hint) is tuple else arguments[-1])


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Section)
