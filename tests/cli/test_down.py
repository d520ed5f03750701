"""``mesh lab down``: what is destroyed, and what is left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh.cli import down as module
from mesh.cli.engine import Interrupted
from mesh.cli.main import app

STACK = {"type": "pulumi:pulumi:Stack"}
PROVIDER = {"type": "pulumi:providers:pulumi-python", "custom": True}
BOX = {"type": "pulumi-python:dynamic/mesh:Instance", "custom": True}


class Machine:
    """A machine on which nothing is really done; what would be is on record."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.resources: list[dict[str, Any]] | None = None
        self.stands = False
        self.end: int | type[Exception] = 0
        state = folder / ".mesh"
        (state / "engine").mkdir(parents=True)
        (state / "engine" / "pulumi").touch()
        (state / "Pulumi.lab.yaml").touch()
        monkeypatch.setattr("os.geteuid", lambda: 0)
        monkeypatch.setenv("MESH_LAB", "lab")
        for name, stand_in in {
            "checkout": lambda: folder,
            "stack_exists": lambda _: True,
            "recover": lambda *_: None,
            "readable": lambda _: self,
            "_stack": self.stack,
            "run_engine": self.engine,
            "stands": lambda _: self.stands,
            "clear_world": lambda _: self.done.append("clear"),
        }.items():
            monkeypatch.setattr(module, name, stand_in)

    def state(self) -> dict[str, Any]:
        self.done.append("stack export")
        return {"deployment": {"resources": self.resources}}

    def stack(self, *words: Any) -> subprocess.CompletedProcess[str]:
        self.done.append(" ".join(words[3:5]))
        return subprocess.CompletedProcess([], 0, "")

    def engine(self, command: list[str], **_: Any) -> int:
        self.done.append(" ".join(w for w in command if w in ("destroy", "--ignore-protect")))
        if isinstance(self.end, int):
            return self.end
        raise self.end


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize("resources", [None, [], [STACK], [STACK, PROVIDER]])
def test_where_nothing_is_up_nothing_is_made_to_be_destroyed(
    machine: Machine, resources: list[dict[str, Any]] | None
) -> None:
    machine.resources = resources
    shown = CliRunner().invoke(app, ["lab", "down"])
    assert (shown.exit_code, shown.stdout) == (0, "nothing is up\n")
    assert "destroy" not in machine.done


def test_what_stands_without_a_state_is_cleared(machine: Machine) -> None:
    machine.stands = True
    assert CliRunner().invoke(app, ["lab", "down"]).stdout == "the lab is gone\n"
    assert "clear" in machine.done


def test_what_left_the_program_under_protection_does_not_stop_the_destroy(machine: Machine) -> None:
    machine.resources = [STACK, PROVIDER, BOX]
    shown = CliRunner().invoke(app, ["lab", "down"])
    assert shown.stdout.endswith("the lab is gone\n")
    assert machine.done == ["stack export", "destroy --ignore-protect", "clear"]


def test_an_interrupted_run_clears_nothing_by_force(machine: Machine) -> None:
    machine.resources, machine.end = [BOX], Interrupted
    shown = CliRunner().invoke(app, ["lab", "down"])
    assert (shown.exit_code, shown.stderr) == (
        130,
        "interrupted; run `make down` again to go on\n",
    )
    assert "clear" not in machine.done
