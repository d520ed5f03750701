"""A stack and how its engine is run: the lab's in its own environment, any other in the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mesh.cli.engine import attend, one_at_a_time, recover
from mesh.cli.environment import checkout, engine_folder, environment, state_folder
from mesh.cli.working_copy import STACK, EngineFailed, prepare
from mesh.infra.ending import DESTROY, GIVEN_UP, ending
from mesh.spec.engine import stack_name

NOT_SET = "not found for stack"
"""pulumi, of a key of the configuration that a stack does not have."""


@dataclass(frozen=True)
class Stack:
    """One stack. ``folder`` holds its program. Commands on its state alone run in ``beside``, where
    the engine may write a stack file. ``config`` is its stack file if that is not in ``folder``."""

    name: str
    folder: Path
    beside: Path
    environment: Mapping[str, str]
    config: Path | None = None

    def preview(self, *options: str) -> str:
        """What `pulumi preview --json` prints, which includes the errors of a failed preview."""
        done = self._run(self.folder, "preview", "--json", "--show-sames", *options, *self._file())
        if not done.stdout.lstrip().startswith("{"):
            raise EngineFailed(self._failure(done))
        return done.stdout

    def state(self, *, in_clear: bool = False) -> dict[str, Any]:
        """The stack's state, its secrets encrypted, or ``in_clear``."""
        done = self._run(self.beside, "stack", "export", *(["--show-secrets"] if in_clear else []))
        if done.returncode:
            raise EngineFailed(self._failure(done))
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def replace_state(self, document: Mapping[str, Any]) -> None:
        """Write the stack's state anew. The engine refuses an inconsistent one."""
        done = self._run(self.beside, "stack", "import", given=json.dumps(document))
        if done.returncode:
            raise EngineFailed(self._failure(done))

    def setting(self, key: str) -> str | None:
        """A value of the stack's configuration, which the engine decrypts; None where it has
        none. It may be a secret: it is for this process alone."""
        done = self._run(self.folder, "config", "get", key, *self._file())
        if done.returncode:
            if NOT_SET in done.stderr:
                return None
            raise EngineFailed(self._failure(done))
        return done.stdout.removesuffix("\n")

    def unprotect(self, urn: str) -> None:
        """Take the protection off a resource in the state."""
        done = self._run(self.beside, "state", "unprotect", urn, "--yes")
        if done.returncode:
            raise EngineFailed(self._failure(done))

    def up(self, *options: str, variables: Mapping[str, str] = MappingProxyType({})) -> int:
        """Run `pulumi up` with its output shown, and with these variables in its environment; its
        exit status."""
        command = ["pulumi", "up", "--yes", "--skip-preview", "--suppress-outputs"]
        command += [*options, "--stack", self.name, *self._file()]
        own = {**self.environment, **variables}
        return attend(command, cwd=self.folder, environment=own)

    def destroy_preview(self) -> None:
        """Have the engine preview a destroy; nothing changes."""
        done = self._run(
            self.folder, "destroy", "--preview-only", *GIVEN_UP, *self._file(), ends=True
        )
        if done.returncode:
            raise EngineFailed(self._failure(done))

    def destroy(self) -> int:
        """Run `pulumi destroy` with its output shown, protected or not; its exit status."""
        command = ["pulumi", *DESTROY, *GIVEN_UP, "--stack", self.name, *self._file()]
        return attend(command, cwd=self.folder, environment=ending(self.environment))

    def _file(self) -> tuple[str, ...]:
        return () if self.config is None else ("--config-file", str(self.config))

    def _run(
        self, folder: Path, *arguments: str, ends: bool = False, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = ["pulumi", "--non-interactive", *arguments, "--stack", self.name]
        own = ending(self.environment) if ends else self.environment
        try:
            return subprocess.run(
                command,
                cwd=folder,
                env=own,
                input=given,
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise EngineFailed(f"stack {self.name}: {no_engine(self.name)}") from None
        except OSError as error:
            raise EngineFailed(f"stack {self.name}: {error.strerror}: {error.filename}") from None

    def _failure(self, done: subprocess.CompletedProcess[str]) -> str:
        error = (done.stderr.strip() or done.stdout.strip()).removeprefix("error: ")
        return f"stack {self.name}: {error or f'pulumi ended with {done.returncode}'}"


def readable(name: str) -> Stack:
    """The stack of that name, to read its state only: nothing is prepared, and no other run is
    waited for. SpecError where the name is not valid."""
    stack_name(name)
    if name != STACK:
        return Stack(name, Path.cwd(), Path.cwd(), dict(os.environ))
    root = checkout()
    state = state_folder(root)
    return Stack(name, root, state, environment(root, state))


@contextmanager
def chosen(name: str) -> Iterator[Stack]:
    """The stack of that name. The lab's is prepared as for `mesh lab up`, and locked meanwhile. Any
    other, and one that is named with its organization, is the user's own.

    SpecError where the name is not valid.
    """
    stack = readable(name)
    if name != STACK:
        yield stack
        return
    root, state, own = stack.folder, stack.beside, stack.environment
    if not os.access(engine_folder(root) / "pulumi", os.X_OK):
        raise EngineFailed(f"stack {name}: {no_engine(name)}")
    with ExitStack() as held:
        # Standard output is for the command's result.
        with redirect_stdout(sys.stderr):
            held.enter_context(one_at_a_time(state))
            config = prepare(root, state, own)
            recover(root, state, own)
        yield replace(stack, config=config)


def no_engine(stack: str) -> str:
    """What to do where there is no engine for a stack."""
    if stack == STACK:
        return "its engine is not set up in this checkout: run `make setup`"
    return (
        "its engine is `pulumi`, which is not on your PATH; put the one of this checkout "
        'there (`make setup`, then `export PATH="$PWD/.mesh/engine:$PWD/.venv/bin:$PATH"`) or '
        "install it (https://www.pulumi.com/docs/install/)"
    )
