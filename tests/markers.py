"""Which files `-m` leaves out as a whole, without importing them."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import cache
from itertools import chain, combinations

from _pytest.mark.expression import Expression

_OF_A_FILE = re.compile(r"^pytestmark = (.*?)$(?=\n\S|\n*\Z|\n\n)", re.MULTILINE | re.DOTALL)
_ONE = re.compile(r"\bmark\.(\w+)")
_NAME = re.compile(r"\b(?!and\b|or\b|not\b)[a-z_]\w*")


def leave_out(expression: str, text: str) -> bool:
    """Whether an expression of `-m` selects no test of a file with that text, whichever of the
    markers that the text names single tests have beside the file's own (``pytestmark``)."""
    if not expression:
        return False
    said = _OF_A_FILE.search(text)
    own = set(_ONE.findall(said[1])) if said else set()
    others = sorted(set(_NAME.findall(expression)) & set(_ONE.findall(text)) - own)
    further = chain.from_iterable(combinations(others, n) for n in range(len(others) + 1))
    return not any(holds(expression, own.union(more)) for more in further)


def holds(expression: str, names: Set[str]) -> bool:
    """Whether an expression of `-m` selects a test with these markers."""
    return _compiled(expression).evaluate(lambda name, /, **_: name in names)


@cache
def _compiled(expression: str) -> Expression:
    return Expression.compile(expression)
