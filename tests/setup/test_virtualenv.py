"""Which Python the environment is made from, and what is put there when."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from setup import virtualenv
from setup.progress import Progress, Step
from tests.kit.stacks import ROOT

ASK = "from setup.virtualenv import interpreter; print(interpreter())"


def said_by(python: Path) -> str:
    done = subprocess.run([python, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_activated_environment_is_not_made_anew_from_itself(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    activated = said_by(tmp_path / "venv/bin/python")
    assert activated == said_by(Path(sys.executable))
    assert not Path(activated).is_relative_to(tmp_path)


class Recording(Step):
    """Runs nothing but the making of an empty folder, and knows what would have been run."""

    def __init__(self, folder: Path) -> None:
        super().__init__("venv", Progress(io.StringIO()), folder / "log")
        self.ran: list[str] = []

    def run(self, command: list[str], **_options: object) -> None:  # type: ignore[override]
        if command[1:3] == ["-m", "venv"]:
            shutil.rmtree(command[-1], ignore_errors=True)
            Path(command[-1]).mkdir()
            self.ran.append("anew")
        elif "--requirement" in command:
            assert "--require-hashes" in command
            self.ran.append(Path(command[-1]).name)
        else:
            assert "--editable" in command
            self.ran.append("mesh")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for lock in (virtualenv.PROGRAM, virtualenv.TESTS, virtualenv.DOCS):
        (tmp_path / lock).write_text("one==1.0\n")
    return tmp_path


def made(checkout: Path, *, tests: bool) -> list[str]:
    """What is done to have the environment for the program, or for tests as well."""
    step = Recording(checkout)
    virtualenv.virtualenv(checkout, step, tests=tests)
    return step.ran


PROGRAM = ["anew", virtualenv.PROGRAM, "mesh"]
ALL = [*PROGRAM, virtualenv.TESTS]


def test_the_program_runs_without_what_tests_need(checkout: Path) -> None:
    assert made(checkout, tests=False) == PROGRAM
    assert made(checkout, tests=False) == []
    assert made(checkout, tests=True) == [virtualenv.TESTS]
    assert made(checkout, tests=True) == []


def test_an_environment_with_what_tests_need_is_kept_for_the_program(checkout: Path) -> None:
    assert made(checkout, tests=True) == ALL
    assert made(checkout, tests=False) == []


def test_a_new_lock_of_tests_is_none_of_the_programs_business(checkout: Path) -> None:
    made(checkout, tests=True)
    (checkout / virtualenv.TESTS).write_text("other==1.0\n")
    assert made(checkout, tests=False) == []
    assert made(checkout, tests=True) == ALL, "no plugin of the old one stays for pytest to load"
    assert made(checkout, tests=True) == []


def test_a_new_lock_of_the_program_makes_the_environment_anew(checkout: Path) -> None:
    made(checkout, tests=True)
    (checkout / virtualenv.PROGRAM).write_text("one==1.1\n")
    assert made(checkout, tests=False) == PROGRAM
    assert made(checkout, tests=True) == [virtualenv.TESTS]


def test_the_documentation_has_an_environment_of_its_own(checkout: Path) -> None:
    step, folder = Recording(checkout), checkout / "docs"
    for _ in range(2):
        virtualenv.documentation(checkout, folder, step)
    assert step.ran == ["anew", virtualenv.DOCS]
    assert made(checkout, tests=True) == ALL
    (checkout / virtualenv.DOCS).write_text("other==1.0\n")
    assert made(checkout, tests=True) == []
    virtualenv.documentation(checkout, folder, step)
    assert step.ran == ["anew", virtualenv.DOCS] * 2
