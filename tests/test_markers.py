"""A file is left out only where no test of it could be selected."""

from __future__ import annotations

import re
import tomllib
from itertools import combinations, product

import pytest

from tests import markers
from tests.__main__ import BESIDE, TWINS
from tests.kit.stacks import ROOT

ANYWHERE = "not (root or image or engine or lab or network or browser or slow)"
SMALL = "lab and not twin and not slow"
ONE_SLOW = "@pytest.mark.slow\ndef test_x() -> None: ...\n"


@pytest.mark.parametrize(
    ("text", "expression", "left_out"),
    [
        ("pytestmark = pytest.mark.engine\n", ANYWHERE, True),
        ("pytestmark = [pytest.mark.lab, pytest.mark.engine]\n\nX = 1\n", ANYWHERE, True),
        ("pytestmark = [\n    pytest.mark.root,\n    pytest.mark.lab,\n]\n", ANYWHERE, True),
        ("pytestmark = pytest.mark.twin\n", ANYWHERE, False),
        ("pytestmark = pytest.mark.engine\n", "", False),
        ("pytestmark = pytest.mark.engine\n", "engine and slow", True),
        (f"pytestmark = pytest.mark.engine\n\n\n{ONE_SLOW}", "engine and slow", False),
        (f"pytestmark = pytest.mark.engine\n\n\n{ONE_SLOW}", "engine and not slow", False),
        ("pytestmark = pytest.mark.engine\n", "lab", True),
        ("import pytest\n\n\n@pytest.mark.engine\ndef test_x() -> None: ...\n", ANYWHERE, False),
        ("X = 1\n", ANYWHERE, False),
        ("X = 1\n", SMALL, True),
        (ONE_SLOW, SMALL, True),
        ("X = [pytest.param(1, marks=pytest.mark.lab)]\n", SMALL, False),
        ("pytestmark = pytest.mark.lab\n", SMALL, False),
        ("pytestmark = [pytest.mark.lab, pytest.mark.twin]\n", SMALL, True),
    ],
)  # fmt: skip
def test_what_no_test_of_a_file_can_be_is_seen_from_its_text(
    text: str, expression: str, left_out: bool
) -> None:
    assert markers.leave_out(expression, text) == left_out


def test_each_test_runs_in_one_of_the_processes_of_make_test() -> None:
    """Whatever its markers are; only what is slow runs in none."""
    runs = [words[words.index("-m", words.index("pytest")) + 1] for words in (TWINS, *BESIDE)]
    others = ("root", "image", "engine", "network", "browser")
    labs = ((), ("lab",), ("lab", "twin"), ("beside_labs",), ("lab", "beside_labs"))
    for lab, n in product(labs, range(len(others) + 1)):
        for more in combinations(others, n):
            own = {*lab, *more}
            assert sum(markers.holds(run, own) for run in runs) == 1, own
            assert not any(markers.holds(run, own | {"slow"}) for run in runs), own


def test_files_of_ours_are_left_out() -> None:
    """Or nothing is won."""
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    out = [path for path, text in texts.items() if markers.leave_out(ANYWHERE, text)]
    assert ROOT / "tests/engine/test_aws.py" in out
    assert ROOT / "tests/twin/test_mixed.py" in out


def test_a_test_has_its_markers_from_its_own_file() -> None:
    """Its text is what is read: no base class of another file and no conftest.py adds one."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    ours = "|".join(line.partition(":")[0] for line in options["markers"])
    marks = re.compile(rf"\bmark\.({ours})\b|\badd_marker\(")
    inherits = re.compile(r"^class Test\w*\(", re.MULTILINE)
    files = {path: path.read_text() for path in (ROOT / "tests").rglob("*.py")}
    tests = {path for path in files if path.name.startswith("test_")}
    assert not [path for path in files.keys() - tests if marks.search(files[path])]
    assert not [path for path in tests if inherits.search(files[path])]
