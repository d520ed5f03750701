"""Each example has a row in examples/README.md, with the command that checks it."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from mesh.cli.main import app
from tests.kit.stacks import ROOT

EXAMPLES = ROOT / "examples"
ROWS = dict(
    re.findall(
        r"^\| `([^`]+)` \|.*\| `mesh ([^`]+)` \|$",
        (EXAMPLES / "README.md").read_text(),
        re.MULTILINE,
    )
)


def test_each_example_has_a_row() -> None:
    there = {path.name for path in EXAMPLES.glob("Pulumi.*.yaml")}
    there |= {f"{path.parent.name}/" for path in EXAMPLES.glob("*/Pulumi.yaml")}
    assert set(ROWS) == there


@pytest.mark.parametrize("name", ROWS)
def test_the_command_of_its_row_finds_it_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    arguments = ROWS[name].split()
    done = CliRunner().invoke(app, arguments)
    assert arguments[0] == "check" and done.exit_code == 0, done.output
    stack = arguments[arguments.index("--stack") + 1]
    assert f"Pulumi.{stack}.yaml: valid\n" in done.output
