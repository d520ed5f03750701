"""The ``mesh`` command: offline questions, the running mesh, and the lab."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.environment import lab_name
from mesh.cli.exits import ExitCode, failing
from mesh.cli.on_demand import group
from mesh.lab.errors import LabError
from mesh.lab.lab_files import files_of

COMMANDS = {
    "check": "mesh.cli.offline:check",
    "plan": "mesh.cli.offline:plan",
    "render": "mesh.cli.offline:render",
    "status": "mesh.cli.status:status",
    "glass": "mesh.cli.glass:app",
    "monitoring": "mesh.cli.monitoring:app",
    "drain": "mesh.cli.drain:drain",
    "undrain": "mesh.cli.drain:undrain",
    "hold": "mesh.cli.hold:hold",
    "unhold": "mesh.cli.hold:unhold",
    "preview": "mesh.cli.preview:preview",
    "rollout": "mesh.cli.rollout:rollout",
    "replace": "mesh.cli.replace:replace",
    "release": "mesh.cli.release:release",
    "destroy": "mesh.cli.destroy:destroy",
    "adopt": "mesh.cli.adopt:adopt",
    "strays": "mesh.cli.strays:strays",
    "blackhole": "mesh.cli.blackhole:app",
    "region": "mesh.cli.region:app",
    "lab": "mesh.cli.lab:app",
}
"""Every command and its place: a new one is one line."""

app = typer.Typer(
    name="mesh",
    help="A dual-stack BGP anycast network from one page of configuration.",
    cls=group(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        # Imported here: no other command asks for it, and each would pay 8 ms.
        from importlib.metadata import version

        typer.echo(version("anycast-mesh"))
        raise typer.Exit


@app.callback()
def _main(
    # Eager, or the missing command would be complained of first.
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    cwd: Annotated[
        Path | None,
        typer.Option(
            "--cwd",
            "-C",
            metavar="FOLDER",
            help="Run as if started in that folder.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
) -> None:
    if cwd is not None:
        os.chdir(cwd)
    with failing(LabError, code=ExitCode.UNUSABLE):
        files_of(lab_name())


if __name__ == "__main__":
    app()
