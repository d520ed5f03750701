"""Checking, planning, rendering and the program where Linux's own is missing: as on Windows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesh.cli.main import app
from tests.kit.stacks import ROOT

COMMANDS = ("check", "plan", "--help")
PROGRAM = """
import importlib, json, sys
from mesh.cli.main import app
from tests.kit.program import run

asked = json.load(sys.stdin)
for words in asked["commands"]:
    try:
        app(words, prog_name="mesh")
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)
    print("\\f")
print(len(run().resources))
for name in asked["modules"]:
    importlib.import_module(name)
"""
"""One thing after another, with a form feed behind what each command says: most of their time are
imports."""
LEFT_OUT = ("mesh.agent", "mesh.registry", "mesh.ssh", "mesh.policy.__main__")
"""What runs on nodes; what brings it to a host by asyncssh, which knows Windows by its name, not by
what it lacks; and the policy pack, which is a program of its own."""


@dataclass(frozen=True)
class Elsewhere:
    """What was said in such a Python, by command; how many resources the program registered; and
    the folder of the rendered files."""

    said: dict[str, str]
    resources: int
    rendered: Path


def operators_modules() -> list[str]:
    """The modules that an operator's machine runs."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "mesh").rglob("*.py"))
    ]
    return [name for name in modules if not name.startswith(LEFT_OUT)]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """All in one such Python; a file that is read in the machine's own encoding fails."""
    blocked = str(ROOT / "tests" / "cli" / "without_unix.py")
    out = tmp_path_factory.mktemp("there")
    render = ["render", "--stack", "prod", "--out", str(out)]
    asked = {"commands": [*([word] for word in COMMANDS), render], "modules": operators_modules()}
    done = subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", blocked, PROGRAM],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"},
        input=json.dumps(asked), capture_output=True, encoding="cp1252", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *said, resources = done.stdout.split("\f")
    return Elsewhere(dict(zip(COMMANDS, said, strict=False)), int(resources), out)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_the_same(command: str, there: Elsewhere) -> None:
    expected = CliRunner().invoke(app, [command])
    # Where the encoding has no lines for a box, other characters make it.
    assert re.findall(r"\w+", there.said[command]) == re.findall(r"\w+", expected.stdout)


def test_rendering_gives_the_same_bytes(tmp_path: Path, there: Elsewhere) -> None:
    here = ["render", "--stack", "prod", "--root", str(ROOT), "--out", str(tmp_path)]
    assert CliRunner().invoke(app, here).exit_code == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    for path in files:
        rendered = there.rendered / path.relative_to(tmp_path)
        assert rendered.read_bytes() == path.read_bytes(), path


def test_the_program_runs(there: Elsewhere) -> None:
    assert there.resources > len(("nodes", "addresses"))


def test_all_that_an_operator_runs_can_be_imported(there: Elsewhere) -> None:
    """The fixture fails where it cannot."""
    assert {"mesh.infra.mesh", "mesh.cli.up", "mesh.lab.namespaces"} <= {*operators_modules()}
