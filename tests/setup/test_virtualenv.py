"""Which Python the environment is made from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.stacks import ROOT

ASK = "from setup.virtualenv import interpreter; print(interpreter())"


def said_by(python: Path) -> str:
    done = subprocess.run([python, "-c", ASK], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_activated_environment_is_not_made_anew_from_itself(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    activated = said_by(tmp_path / "venv/bin/python")
    assert activated == said_by(Path(sys.executable))
    assert not Path(activated).is_relative_to(tmp_path)
