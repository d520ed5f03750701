"""The ``mesh`` command itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
from typer.testing import CliRunner

from mesh.cli.main import app
from mesh.cli.on_demand import joined
from mesh.reference.cli import commands


def test_the_version_needs_no_command() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0
    assert shown.stdout == f"{version('anycast-mesh')}\n"


@pytest.mark.parametrize(
    ("docstring", "shown"),
    [
        ("One line.", "One line."),
        ("A sentence that\n    goes on.", "A sentence that goes on."),
        ("One.\n\n    Two, which\n    goes on.\n    ", "One.\n\nTwo, which goes on."),
        ("No:\n    - one that\n      goes on\n    - two", "No:\n- one that goes on\n- two"),
        ("With\n    --watch it goes on.", "With --watch it goes on."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_paragraph_of_a_docstring_is_one_line(docstring: str, shown: str) -> None:
    assert joined(docstring) == shown


COMMANDS = dict(commands())


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_no_help_is_wrapped_twice(name: str, command: Any) -> None:
    """Where a terminal wraps lines that are wrapped already, every second one is a rag."""
    assert command.help, name
    for paragraph in command.help.split("\n\n"):
        assert all(line.startswith("- ") for line in paragraph.splitlines()[1:]), paragraph


def test_a_list_of_commands_is_wrapped_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = CliRunner().invoke(app, ["blackhole", "--help"]).stdout.splitlines()
    first = next(place for place, line in enumerate(lines) if "add     Discard" in line)
    shown = " ".join(line.strip("│ ") for line in lines[first : first + 3])
    assert shown.endswith("before they reach us (RFC 7999).")
    assert all(len(line.rstrip("│ ")) > 60 for line in lines[first : first + 2])
