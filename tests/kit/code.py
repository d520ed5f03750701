"""What stands in a program, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The imports of a file, wherever in it they are."""
    return tuple(_imports(ast.parse(path.read_text())))


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    # An import is a statement, and no expression holds one: most of a program is expressions.
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            yield inner
        elif not isinstance(inner, ast.expr):
            yield from _imports(inner)
