"""How a command ends: with one of these codes, and with a reason where it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn

import typer
from rich.console import Console

from mesh.foreign import lines
from mesh.hanging import Hanging


class ExitCode(IntEnum):
    """What each exit code means, for all commands."""

    DONE = 0
    """It is done, shown, or well."""
    FAILED = 1
    """It failed, is not done yet, or is not well; or nobody agreed to it."""
    UNUSABLE = 2
    """Wrong usage; or nothing was done, since the state, a registry or an account cannot be asked,
    or has no such thing."""
    REFUSED = 3
    """It was refused here, and nothing was done: by the gate, or for want of `--force`."""
    NODE_REFUSES = 4
    """It was ordered, and a node refuses the order."""
    INTERRUPTED = 130
    """Somebody interrupted it."""


def fail(reason: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """End the command with a reason; its lines may come from elsewhere, and are made printable."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in lines(reason):
        console.print(Hanging(line, "red", "error:"))
    raise typer.Exit(code)


@contextmanager
def failing(*kinds: type[Exception], code: ExitCode = ExitCode.FAILED) -> Iterator[None]:
    """End the command where one of these errors is raised, with its reason."""
    try:
        yield
    except kinds as error:
        fail(str(error), code)


def interrupted(then: str) -> NoReturn:
    """End a command that was interrupted, and show the next step (``then``)."""
    typer.echo(f"interrupted; {then}", err=True)
    raise typer.Exit(ExitCode.INTERRUPTED)
