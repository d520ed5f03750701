"""``cli.md``: every command, from the tree of commands that typer makes of ``mesh``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from typer.main import get_command

from mesh.cli.exits import ExitCode
from mesh.cli.main import app
from mesh.reference import docstrings
from mesh.reference.markdown import begun, bullets, fenced, link, page, prose

EXIT_CODES = "Exit codes:"
"""The beginning of the last paragraph of a command's help: a list of codes with semicolons."""

INTRODUCTION = """\
`mesh COMMAND --help` shows the same in a terminal. \
Without `--stack` a command uses the stack that is shown as its default. `check`, `plan` and \
`render` do not need the Pulumi engine; the commands of a deployed network read its state by it. \
[Outputs](outputs.md) shows what `--json` prints."""


CODES = """\
The general meaning of each code. Each command lists the codes that it uses, with their meaning \
there."""


def text() -> str:
    """The page."""
    return page(_blocks())


def _blocks() -> Iterator[str]:
    yield from begun("Commands", "the commands in `mesh/cli`")
    yield INTRODUCTION
    tree = list(commands())
    yield bullets(f"{link(name, f'`{name}`')}: {prose(_first(command))}" for name, command in tree)
    yield "## Options of mesh itself"
    root = get_command(app)
    yield "They stand before the command."
    yield bullets(_parameter(each) for each in _options(root))
    yield "## Exit codes"
    yield CODES
    meanings = docstrings.of_attributes(ExitCode)
    yield bullets(f"`{code}`: {prose(meanings[code.name])}" for code in ExitCode)
    for name, command in tree:
        yield f"## {name}"
        yield from _described(name, command)


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its full name, without groups, in the order of ``mesh --help``."""
    yield from _below("mesh", get_command(app))


def _below(name: str, group: Any) -> Iterator[tuple[str, Any]]:
    context = group.context_class(group, info_name=name)
    for each in group.list_commands(context):
        command = group.get_command(context, each)
        if hasattr(command, "list_commands"):
            yield from _below(f"{name} {each}", command)
        else:
            yield f"{name} {each}", command


def _first(command: Any) -> str:
    """The first sentence of a command's help."""
    paragraph = cleandoc(command.help).split("\n\n")[0]
    return re.split(r"(?<=[.])\s", paragraph, maxsplit=1)[0]


def _described(name: str, command: Any) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    yield fenced(" ".join([name, *command.collect_usage_pieces(context)]))
    *paragraphs, last = cleandoc(command.help).split("\n\n")
    yield from map(_paragraph, paragraphs)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    if arguments:
        yield "Arguments:"
        yield bullets(map(_parameter, arguments))
    options = list(_options(command))
    if options:
        yield "Options:"
        yield bullets(map(_parameter, options))
    yield EXIT_CODES
    yield bullets(map(_code, exit_codes(last)))


def exit_codes(paragraph: str) -> list[str]:
    """The exit codes that a paragraph lists, each with what it means."""
    if not paragraph.startswith(EXIT_CODES):
        return []
    line = " ".join(paragraph.removeprefix(EXIT_CODES).split())
    return line.removesuffix(".").split("; ")


def _code(text: str) -> str:
    number, _, meaning = text.partition(" ")
    return f"`{number}`: {prose(meaning)}" if number.isdigit() else prose(text)


def _paragraph(text: str) -> str:
    return f"- {prose(text[2:])}" if text.startswith("- ") else prose(text)


def _options(command: Any) -> Iterator[Any]:
    """The options of a command but for ``--help``, which all of them have."""
    return (each for each in command.params if each.param_type_name == "option")


def _parameter(parameter: Any) -> str:
    """An argument or an option: its name, its help, and its default."""
    if parameter.param_type_name == "argument":
        written, notes = [parameter.name.upper()], []
    else:
        value = "" if parameter.is_flag else f" {_metavar(parameter)}"
        written = [f"{each}{value}" for each in parameter.opts]
        notes = ["required"] if parameter.required else []
        if parameter.default not in (None, False, "") and not parameter.required:
            notes.append(f"default: `{parameter.default}`")
    shown = ", ".join(f"`{each}`" for each in written)
    return f"{shown}: {prose(parameter.help or '')}" + (f" ({', '.join(notes)})" if notes else "")


def _metavar(parameter: Any) -> str:
    """The placeholder of an option's value."""
    return str(parameter.metavar or parameter.name.upper())
