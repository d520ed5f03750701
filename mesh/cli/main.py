"""The ``mesh`` command: offline questions, the running mesh, and the lab."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import Annotated

import typer

app = typer.Typer(
    name="mesh",
    help="A dual-stack BGP anycast network from one page of configuration.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)

COMMANDS: dict[str, tuple[str, str]] = {
    "check": ("mesh.cli.offline", "check"),
    "plan": ("mesh.cli.offline", "plan"),
    "render": ("mesh.cli.offline", "render"),
    "status": ("mesh.cli.status", "status"),
    "drain": ("mesh.cli.drain", "drain"),
    "undrain": ("mesh.cli.drain", "undrain"),
    "preview": ("mesh.cli.preview", "preview"),
    "replace": ("mesh.cli.replace", "replace"),
    "release": ("mesh.cli.release", "release"),
}
"""Every top-level command and where it lives: a new one is one line."""

for _name, (_module, _function) in COMMANDS.items():
    app.command(_name)(getattr(importlib.import_module(_module), _function))

for _name in ("blackhole", "region", "lab"):
    app.add_typer(importlib.import_module(f"mesh.cli.{_name}").app, name=_name)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("anycast-mesh"))
        raise typer.Exit


@app.callback()
def _main(
    # Eager, or the missing command would be complained of first.
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None: ...


if __name__ == "__main__":
    app()
