"""A test that cannot run on this machine is skipped with the cure, or fails where all must run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import needs
from tests.kit.stacks import ROOT
from tests.kit.wait import patience

OF_THE_IMAGE = "tests/render/test_traffic.py"
CURES = ("`make setup`, or set MESH_IMAGE", "run as root", "needs Linux")


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What pytest says where there is no image, and to a plain user no root either."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", OF_THE_IMAGE, *words],
        cwd=ROOT, env=os.environ | {"MESH_IMAGE": str(tmp_path)},
        capture_output=True, text=True, check=False, timeout=patience(120),
    )  # fmt: skip


def test_what_is_missing_is_skipped_with_its_cure_and_nothing_else(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "3 passed, 6 skipped" in done.stdout
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED [6]")]
    assert any(cure in said for cure in CURES), said


def test_where_nothing_may_be_missing_it_fails(tmp_path: Path) -> None:
    done = run(tmp_path, "--whole")
    assert done.returncode == 1
    assert "3 passed, 6 errors" in done.stdout


def test_a_need_that_no_marker_says_is_told_whoever_runs_it() -> None:
    with needs.stated(["root"]), pytest.raises(AssertionError, match=r"@pytest\.mark\.image"):
        needs.claim("image")


@pytest.mark.parametrize(
    ("markers", "found"),
    [
        (["slow"], []),
        (["engine"], ["engine"]),
        (["image"], ["root", "image"]),
        (["lab", "engine"], ["root", "image", "engine", "lab"]),
    ],
)
def test_what_a_marker_says_beside_itself(markers: list[str], found: list[str]) -> None:
    assert needs.said(markers) == found
