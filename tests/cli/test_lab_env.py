"""`eval "$(mesh lab env)"`: the engine's own commands on the lab's stack, and no committed file
that changes by them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.cli.working_copy import is_prepared
from tests.kit.stacks import ROOT
from tests.kit.wait import patience

NAME = "env-of-tests"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the things of a lab of these tests lie; they go with it."""
    monkeypatch.setenv("MESH_LAB", NAME)
    folder = ROOT / ".mesh" / "labs" / NAME
    shutil.rmtree(folder, ignore_errors=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def evaluated(words: str) -> dict[str, str]:
    """The environment of a shell that has evaluated these words."""
    done = subprocess.run(
        ["bash", "-c", 'eval "$1" && env -0', "bash", words],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def pulumi(environment: Mapping[str, str], folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["pulumi", "--non-interactive", *words], cwd=folder, env=environment,
        capture_output=True, text=True, check=False, timeout=patience(200),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def committed() -> dict[Path, bytes]:
    """The files beside the program and among the examples, and what is in them."""
    found = [*ROOT.iterdir(), *(ROOT / "examples").iterdir()]
    return {path: path.read_bytes() for path in found if path.is_file()}


@pytest.mark.engine
def test_the_engines_own_commands_work_from_any_folder_and_write_no_committed_file(
    lab: Path, tmp_path: Path
) -> None:
    before = committed()
    done = CliRunner().invoke(app, ["lab", "env"])
    assert done.exit_code == 0, done.stderr
    assert all(line.startswith("export ") for line in done.stdout.splitlines())
    own = evaluated(done.stdout)
    shown = pulumi(own, ROOT / "tests", "preview", "--stack", "lab")
    assert re.search(r"mesh-generation create", shown), shown
    pulumi(own, tmp_path, "config", "set", "--stack", "lab", "mesh:whoami", "false")
    assert "whoami" in pulumi(own, ROOT, "config", "--stack", "lab")
    assert committed() == before
    assert is_prepared(lab)


def test_without_an_engine_a_shell_is_told_nothing(
    lab: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mesh.cli.lab.engine_folder", lambda root: tmp_path)
    done = CliRunner().invoke(app, ["lab", "env"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "make setup" in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["../up", "my_lab", "Lab", "a--b", "client", "x" * 33])
def test_a_name_that_no_lab_can_have_is_refused_before_anything_is_made(name: str) -> None:
    for words in (["lab", "env"], ["lab", "up"], ["status"]):
        done = CliRunner().invoke(app, words, env={"MESH_LAB": name})
        assert done.exit_code == 2
        assert f"lab name {name!r} (MESH_LAB): use at most 32" in done.stderr
    assert not os.path.lexists(ROOT / ".mesh" / "labs" / name)
