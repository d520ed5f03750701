"""A provider is its facts and its driver: no other code names one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.spec.providers import PROVIDERS
from mesh.spec.providers.existing import ASNS
from tests.kit.stacks import ROOT

MESH = ROOT / "mesh"
NAMES = {*PROVIDERS, *ASNS}
WORDS = NAMES | {"amazon", "ec2", "ediri"}
"""What stands for a provider in code: the names of stack files, and those of companies and SDKs."""

ANYWHERE = re.compile("|".join(map(re.escape, WORDS)), re.IGNORECASE)

ROOMS = (MESH / "spec" / "providers", *(MESH / "infra" / "providers" / name for name in PROVIDERS))
"""Facts of all providers, and the driver of each."""
HELD = tuple(MESH / "infra" / "dynamic" / name for name in PROVIDERS)
"""Resources of our own, parts of a driver: states hold the import paths of their classes
(docs/architecture.md, "Dynamic providers"), and so they stand beside those of all others."""


def words(text: str) -> set[str]:
    """The words of a text or an identifier, in small letters."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z0-9]+(?![a-z])", text)}


def docstrings(tree: ast.AST) -> set[ast.Constant]:
    """The texts that nothing but a reader reads: they may take a provider as an example."""
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Names and texts of a program with their lines; comments and docstrings left out."""
    tree = ast.parse(source)
    told = docstrings(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as text) if node not in told:
                yield node.lineno, text
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.keyword(arg=str() as name):
                yield node.value.lineno, name
            case ast.ImportFrom(module=str() as name):
                yield node.lineno, name
            case ast.alias(name=name, asname=other):
                yield node.lineno, f"{name} {other or ''}"


def named(source: str) -> list[tuple[int, str]]:
    """Lines of a program that name a provider, and the name."""
    if not ANYWHERE.search(source):
        return []  # most programs: to parse them takes a second
    return sorted({(line, word) for line, text in texts(source) for word in words(text) & WORDS})


def elsewhere() -> Iterator[Path]:
    """The files of the program that belong to no provider."""
    yield ROOT / "__main__.py"
    for path in sorted(MESH.rglob("*.py")):
        if not any(path.is_relative_to(room) for room in (*ROOMS, *HELD)):
            yield path


def test_no_code_elsewhere_names_a_provider() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}": name
        for path in elsewhere()
        for line, name in named(path.read_text())
    }
    assert found == {}, "ask the provider's facts or its driver's DESCRIPTION instead"


def test_no_file_elsewhere_is_named_after_a_provider() -> None:
    assert [p for p in elsewhere() if words(str(p.relative_to(ROOT))) & WORDS] == []


def test_no_template_names_a_provider() -> None:
    files = [*ROOT.glob("templates/**/*.j2"), *MESH.glob("lab/templates/*.j2")]
    assert len(files) > 10
    for path in files:
        lines = re.sub(r"\{#.*?#\}", "", path.read_text(), flags=re.DOTALL).splitlines()
        code = " ".join(line for line in lines if not line.lstrip().startswith("#"))
        assert words(code) & WORDS == set(), path


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('KINDS = {"aws:ec2/eip:Eip": 1}', ["aws", "ec2"]),
        ("def _vultr_group(): ...", ["vultr"]),
        ("class VultrProvider: ...", ["vultr"]),
        ("from pulumi_gcp.compute import address", ["gcp"]),
        ('word = f"at {x} in AWS"', ["aws"]),
        ("run(gcp=1)", ["gcp"]),
        ("spec.providers.vultr.through", ["vultr"]),
        ('"""As ``lax-vultr-1``."""\nx = 1  # GCP wants it', []),
        ('laws = "flaws and gcps"', []),
    ],
)
def test_names_are_found_in_code_and_not_in_prose(source: str, found: list[str]) -> None:
    assert [name for _, name in named(source)] == found
