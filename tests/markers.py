"""Which files `-m` leaves out as a whole, without importing them."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import cache
from itertools import chain, combinations

from _pytest.mark.expression import Expression

_OF_A_FILE = re.compile(r"^pytestmark = (.*?)$(?=\n\S|\n*\Z|\n\n)", re.MULTILINE | re.DOTALL)
_ONE = re.compile(r"pytest\.mark\.(\w+)")
_NAME = re.compile(r"\b(?!and\b|or\b|not\b)[a-z_]\w*")


def leave_out(expression: str, text: str) -> bool:
    """Whether an expression of `-m` selects no test of a file with that text, whatever markers
    single tests have beside the file's own (``pytestmark``)."""
    said = _OF_A_FILE.search(text)
    if not expression or said is None:
        return False
    own = set(_ONE.findall(said[1]))
    others = sorted(set(_NAME.findall(expression)) - own)
    further = chain.from_iterable(combinations(others, n) for n in range(len(others) + 1))
    return not any(_holds(expression, own.union(more)) for more in further)


def _holds(expression: str, names: Set[str]) -> bool:
    return _compiled(expression).evaluate(lambda name, /, **_: name in names)


@cache
def _compiled(expression: str) -> Expression:
    return Expression.compile(expression)
