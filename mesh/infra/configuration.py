"""The configuration of the selected stack as the engine passes it, and how it is refused.

A preview registers its first resources before the stack file is read, so that the engine starts
the process of our own resources while this one imports what reads the file: half of the program's
time each.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi
from pulumi.runtime import config as engine
from pulumi.runtime import is_dry_run

from mesh.infra import sdk

if TYPE_CHECKING:
    from mesh.infra.providers import StackConfiguration
    from mesh.infra.reading import StackFile

ALREADY_SHOWN = 32
"""The exit code for a program that has shown its error
(PYTHON_PROCESS_EXITED_AFTER_SHOWING_USER_ACTIONABLE_MESSAGE_CODE of Pulumi's language host). After
any other, that of pulumi.RunError included, the engine adds an error of its own."""


@contextmanager
def said_once() -> Iterator[None]:
    """Show a pulumi.RunError as the program's only error, and end it."""
    try:
        yield
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        raise SystemExit(ALREADY_SHOWN) from error


def configured(root: Path) -> Configuration:
    """The configuration of the selected stack; ``root`` is the folder of the stack files.

    pulumi.RunError, which the engine shows without a traceback, with every problem of the stack
    file at once; a preview raises it in ``Mesh``, and an update here. Warnings are shown beside the
    resources.
    """
    found = Configuration(root)
    if not is_dry_run():
        _ = found.stack
    return found


class Configuration:
    """The configuration of the selected stack, read when it is first used."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def protect(self) -> bool:
        """``mesh:protect``, known before the stack file is read, which refuses what is neither true
        nor false."""
        try:
            return json.loads(engine.CONFIG.get().get("mesh:protect", "true")) is not False
        except ValueError:
            return True

    @cached_property
    def stack(self) -> StackConfiguration:
        """All of it, read while the registrations so far go to the engine."""
        file = sdk.meanwhile(self._read)
        from mesh.infra.reading import with_secrets

        return with_secrets(file, self._root)

    def ask(self) -> None:
        """Check what only the providers, and the validator of the aggregates, can answer.

        pulumi.RunError with every problem at once; warnings and notes are shown beside the
        resources.
        """
        from mesh.infra.reading import ask

        ask(self.stack)

    def _read(self) -> StackFile:
        # The network is what the program needs next.
        from mesh.infra import network, reading  # noqa: F401

        return reading.read(self._root)
