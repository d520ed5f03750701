"""docs/python.md has the public interface of the component as it is."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import fields

import mesh.infra
from mesh.infra import Mesh, MeshArgs
from tests.kit.stacks import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text()


def section(name: str) -> str:
    """The text below the heading of a name."""
    found = re.search(rf"^## `{name}\(.*?\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found[1]


def rows(text: str, head: str) -> list[str]:
    """The first column of the table that begins with that head."""
    table = re.search(rf"^\| {head} \|.*?\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, head
    return re.findall(r"^\| `(\w+)` \|", table[1], re.MULTILINE)


def statements(source: str) -> list[str]:
    """What a program does, without its docstring and what a type checker wants."""
    body = [one for one in ast.parse(source).body if not isinstance(one, ast.Expr)
            or not isinstance(one.value, ast.Constant)]  # fmt: skip
    return [text for one in body if "__future__" not in (text := ast.unparse(one))]


def test_each_public_name_has_a_section() -> None:
    assert re.findall(r"^## `(\w+)\(", PAGE, re.MULTILINE) == [
        "configured",
        "MeshArgs",
        "Mesh",
        "said_once",
    ]
    assert sorted(mesh.infra.__all__) == ["Mesh", "MeshArgs", "configured", "said_once"]


def test_arguments_are_those_of_the_code() -> None:
    assert rows(section("MeshArgs"), "argument") == [field.name for field in fields(MeshArgs)]
    assert rows(section("Mesh"), "argument") == [*inspect.signature(Mesh).parameters]


def test_attributes_are_there() -> None:
    source = textwrap.dedent(inspect.getsource(Mesh.__init__))
    stored = {node.attr for node in ast.walk(ast.parse(source))
              if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}  # fmt: skip
    assert set(rows(section("Mesh"), "attribute")) <= stored


def test_the_program_is_the_example() -> None:
    shown = re.search(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    example = (ROOT / "examples" / "program" / "__main__.py").read_text()
    assert statements(shown[1]) == statements(example)
