"""The lock files pin everything by hash, and nobody's package registry."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import distribution
from pathlib import Path

import pytest

from setup import versions, virtualenv
from tests.kit.code import imports

LOCKS = {
    name: (versions.CHECKOUT / name).read_text()
    for name in (virtualenv.PROGRAM, virtualenv.TESTS, virtualenv.DOCS)
}
PYPROJECT = tomllib.loads((versions.CHECKOUT / "pyproject.toml").read_text())


def entries(lock: str) -> dict[str, str]:
    """What a lock file says of each package, by name."""
    found = re.split(r"\n(?=[A-Za-z])", LOCKS[lock].strip())
    return {entry.split("==")[0].split("[")[0].lower(): entry for entry in found}


def named(requirement: str) -> str:
    """The name in a requirement, as a lock file has it."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return match[0].lower()


ENTRIES = [(lock, name) for lock in LOCKS for name in entries(lock)]


@pytest.mark.parametrize(("lock", "name"), ENTRIES)
def test_every_package_has_one_version_and_hashes(lock: str, name: str) -> None:
    entry = entries(lock)[name]
    assert re.match(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==\S+", entry)
    assert re.findall(r"--hash=sha256:[0-9a-f]{64}", entry)


@pytest.mark.parametrize("lock", LOCKS)
def test_no_address_of_any_registry_is_in_it(lock: str) -> None:
    text = LOCKS[lock]
    assert "://" not in text
    assert not re.search(r"^\s*(--?(index|extra-index|find-links|trusted)|-i |-f )", text, re.M)


def test_all_that_the_program_asks_for_is_locked() -> None:
    asked = [*PYPROJECT["project"]["dependencies"], *PYPROJECT["build-system"]["requires"]]
    assert {named(line) for line in asked} <= {*entries(virtualenv.PROGRAM)}


def test_all_that_tests_ask_for_is_locked_apart_from_the_program() -> None:
    asked = {named(line) for line in PYPROJECT["dependency-groups"]["dev"]}
    assert asked <= {*entries(virtualenv.TESTS)}
    assert not asked & {*entries(virtualenv.PROGRAM)}


def test_all_that_the_documentation_asks_for_is_locked() -> None:
    asked = {named(line) for line in PYPROJECT["dependency-groups"]["docs"]}
    assert asked <= {*entries(virtualenv.DOCS)}


def test_what_both_need_is_of_one_version() -> None:
    program, tests = entries(virtualenv.PROGRAM), entries(virtualenv.TESTS)
    both = {*program} & {*tests}
    assert {name: tests[name] for name in both} == {name: program[name] for name in both}


def test_the_program_imports_nothing_that_is_there_for_tests_only() -> None:
    """`make up` installs requirements.lock alone."""
    theirs = {
        file.parts[0].removesuffix(".py")
        for name in {*entries(virtualenv.TESTS)} - {*entries(virtualenv.PROGRAM)}
        if entries(virtualenv.TESTS)[name].split(" \\")[0].count(";") == 0
        for file in distribution(name).files or ()
    }
    assert {"pytest", "hypothesis", "mypy"} <= theirs
    for file in [versions.CHECKOUT / "__main__.py", *(versions.CHECKOUT / "mesh").rglob("*.py")]:
        assert not imported(file) & theirs, file


def test_what_the_program_asks_for_it_imports() -> None:
    files = (versions.CHECKOUT / "mesh").rglob("*.py")
    used = {name for file in files for name in imported(file)}
    for wanted in map(named, PYPROJECT["project"]["dependencies"]):
        parts = (file.parts[0] for file in distribution(wanted).files or ())
        assert {part.removesuffix(".py") for part in parts} & used, wanted


def test_set_up_imports_nothing_but_pythons_own() -> None:
    for file in versions.HERE.rglob("*.py"):
        # Two run where more is: in the environment, and where setuptools builds a wheel.
        if file.name not in ("language_host.py", "wheel.py"):
            assert imported(file) <= {*sys.stdlib_module_names, "setup"}, file


@cache
def imported(file: Path) -> set[str]:
    """The packages that a file imports, wherever it does."""
    found = set()
    for node in imports(file):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_engine_and_sdk_are_of_one_version() -> None:
    pinned = versions.load().pulumi
    assert entries(virtualenv.PROGRAM)["pulumi"].startswith(f"pulumi=={pinned} ")
    modules = (versions.HERE / "engine" / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 v{pinned}" in modules
    assert f"github.com/pulumi/pulumi/sdk/v3 v{pinned}" in modules
