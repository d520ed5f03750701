"""Groups of commands whose modules are imported when a command is called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import cleandoc
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command

from mesh.cli.environment import NoCheckout
from mesh.cli.exits import failing


def group(commands: Mapping[str, str]) -> type[TyperGroup]:
    """A class for ``typer.Typer(cls=…)`` with these commands beside the registered ones.

    ``commands`` gives each one's place: ``module:name`` of a function or of a typer.Typer. A
    call imports the module of its own command only; the list in ``--help`` imports all of them.
    """

    class OnDemand(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            # The names alone: typer lists them, and suggests one for a misspelt one.
            self.commands.update(dict.fromkeys(commands, cast("Any", None)))

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            if cmd_name in commands and self.commands[cmd_name] is None:
                command = get_command(_loaded(cmd_name, commands[cmd_name]))
                command.name = cmd_name
                _join_lines(command)
                self.commands[cmd_name] = command
            return super().get_command(ctx, cmd_name)

        def invoke(self, ctx: Any) -> Any:
            with failing(NoCheckout):
                return super().invoke(ctx)

    return OnDemand


def joined(text: str) -> str:
    """A docstring with each paragraph on one line: a terminal has a width of its own. An entry of a
    list, which begins with a hyphen, keeps its line."""
    return re.sub(r"(?<!\n)\n(?!\n| *- ) *", " ", cleandoc(text))


def _join_lines(command: Any) -> None:
    """Join the lines of a command's help, and of its subcommands'; typer keeps them as they are."""
    command.help = joined(command.help or "")
    for each in getattr(command, "commands", {}).values():
        if each is not None:
            _join_lines(each)


def _loaded(name: str, where: str) -> typer.Typer:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(module), attribute)
    if isinstance(found, typer.Typer):
        return found
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return alone
