"""A file is left out only where no test of it could be selected."""

from __future__ import annotations

import pytest

from tests import markers
from tests.kit.stacks import ROOT

ANYWHERE = "not (root or image or engine or lab or network or browser or slow)"
SMALL = "lab and not twin and not slow"


@pytest.mark.parametrize(
    ("text", "expression", "left_out"),
    [
        ("pytestmark = pytest.mark.engine\n", ANYWHERE, True),
        ("pytestmark = [pytest.mark.lab, pytest.mark.engine]\n\nX = 1\n", ANYWHERE, True),
        ("pytestmark = [\n    pytest.mark.root,\n    pytest.mark.lab,\n]\n", ANYWHERE, True),
        ("pytestmark = pytest.mark.twin\n", ANYWHERE, False),
        ("pytestmark = pytest.mark.engine\n", "", False),
        ("pytestmark = pytest.mark.engine\n", "engine and slow", False),
        ("pytestmark = pytest.mark.engine\n", "lab", False),
        ("import pytest\n\n\n@pytest.mark.engine\ndef test_x() -> None: ...\n", ANYWHERE, False),
        ("X = 1\n", ANYWHERE, False),
        ("pytestmark = pytest.mark.lab\n", SMALL, False),
        ("pytestmark = [pytest.mark.lab, pytest.mark.twin]\n", SMALL, True),
    ],
)  # fmt: skip
def test_what_no_test_of_a_file_can_be_is_seen_from_its_text(
    text: str, expression: str, left_out: bool
) -> None:
    assert markers.leave_out(expression, text) == left_out


def test_files_of_ours_are_left_out() -> None:
    """Or nothing is won."""
    texts = {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    out = [path for path, text in texts.items() if markers.leave_out(ANYWHERE, text)]
    assert ROOT / "tests/engine/test_aws.py" in out
    assert ROOT / "tests/twin/test_mixed.py" in out
