"""The docstrings of attributes, which Python itself does not keep."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from functools import cache
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path


def of_attributes(cls: type) -> dict[str, str]:
    """The docstrings of a class's attributes by name, also of inherited ones."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if one.__module__.startswith("mesh."):
            found |= _below(_body(one))
    return found


def _body(cls: type) -> list[ast.stmt]:
    body = _module(cls.__module__).body
    return next(
        each.body for each in body if isinstance(each, ast.ClassDef) and each.name == cls.__name__
    )


def of_names(module: str) -> dict[str, str]:
    """The docstrings of a module's own names."""
    return _below(_module(module).body)


@cache
def _module(name: str) -> ast.Module:
    path = sys.modules[name].__file__
    assert path is not None, "what is documented has a source"
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _below(body: Sequence[ast.stmt]) -> dict[str, str]:
    found = {}
    for statement, following in pairwise(body):
        if not isinstance(following, ast.Expr) or not isinstance(following.value, ast.Constant):
            continue
        target: ast.AST = statement
        if isinstance(statement, ast.AnnAssign):
            target = statement.target
        elif isinstance(statement, ast.Assign):
            target = statement.targets[0]
        if isinstance(target, ast.Name) and isinstance(following.value.value, str):
            found[target.id] = cleandoc(following.value.value)
    return found
