"""Checking, planning, rendering and the program where Linux's own is missing: as on Windows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesh.cli.main import app
from tests.kit.stacks import ROOT

CALL = "from mesh.cli.main import app; app(prog_name='mesh')"
COMMANDS = ("check", "plan", "--help")
CALLS = """
import sys
from mesh.cli.main import app
for word in sys.argv[1:]:
    try:
        app([word], prog_name="mesh")
    except SystemExit as ended:
        assert not ended.code, (word, ended.code)
    print("\\f")
"""
"""One command after another, with a form feed behind what each says. Most of a command's time are
imports."""
LEFT_OUT = ("mesh.agent", "mesh.registry", "mesh.ssh", "mesh.policy.__main__")
"""What runs on nodes; what brings it to a host by asyncssh, which knows Windows by its name, not by
what it lacks; and the policy pack, which is a program of its own."""


def without_unix(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program in such a Python; a file that is read in the machine's own encoding fails."""
    blocked = str(ROOT / "tests" / "cli" / "without_unix.py")
    return subprocess.run(
        [sys.executable, "-X", "warn_default_encoding", blocked, program, *words],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252"},
        capture_output=True, encoding="cp1252", check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What the commands say there."""
    done = without_unix(CALLS, *COMMANDS)
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, done.stdout.split("\f"), strict=False))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_the_same(command: str, said: dict[str, str]) -> None:
    expected = CliRunner().invoke(app, [command])
    # Where the encoding has no lines for a box, other characters make it.
    assert re.findall(r"\w+", said[command]) == re.findall(r"\w+", expected.stdout)


def test_rendering_gives_the_same_bytes(tmp_path: Path) -> None:
    done = without_unix(CALL, "render", "--stack", "prod", "--out", str(tmp_path / "there"))
    assert done.returncode == 0, done.stderr
    here = ["render", "--stack", "prod", "--root", str(ROOT), "--out", str(tmp_path / "here")]
    assert CliRunner().invoke(app, here).exit_code == 0
    files = [path for path in (tmp_path / "here").rglob("*") if path.is_file()]
    assert files
    for path in files:
        there = tmp_path / "there" / path.relative_to(tmp_path / "here")
        assert there.read_bytes() == path.read_bytes(), path


def test_the_program_runs() -> None:
    done = without_unix("from tests.kit.program import run; print(len(run().resources))")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > len(("nodes", "addresses"))


def test_all_that_an_operator_runs_can_be_imported() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / "mesh").rglob("*.py"))
    ]
    wanted = [name for name in modules if not name.startswith(LEFT_OUT)]
    assert {"mesh.infra.mesh", "mesh.cli.up", "mesh.lab.namespaces"} <= {*wanted}
    done = without_unix(f"import importlib\nfor name in {wanted}: importlib.import_module(name)")
    assert done.returncode == 0, done.stderr
