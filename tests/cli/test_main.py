"""The ``mesh`` command itself."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from mesh.cli.main import app


def test_the_version_needs_no_command() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0
    assert shown.stdout == f"{version('anycast-mesh')}\n"
