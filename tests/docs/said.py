"""The texts that the program can say, as they stand in its code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

FILLED = re.compile(r"\{\w+\}|…+")


def texts(folder: Path) -> Iterator[str]:
    """Every string of the Python below a folder, with ``…`` for each value that is filled in.
    Docstrings are none: nobody is told them."""
    for file in sorted(folder.rglob("*.py")):
        nodes = [*ast.walk(ast.parse(file.read_text()))]
        documentation = {node.value for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                yield FILLED.sub("…", "".join(map(_part, node.values)))
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and node not in documentation
            ):
                yield FILLED.sub("…", node.value)


def _part(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else "…"
