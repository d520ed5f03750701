"""The stack's configuration as the engine passes it, refused with all its problems at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pulumi
from pulumi.runtime import config as engine

from mesh import capacity
from mesh import plan as planning
from mesh.agent import bundle
from mesh.infra import providers
from mesh.infra.ending import VARIABLE, is_ending
from mesh.infra.providers import StackConfiguration
from mesh.spec import (
    PASSWORD_PREFIX,
    SSH_PREFIX,
    Note,
    Problem,
    SpecError,
    for_preview,
    from_engine,
    given_secret,
    load,
    needed_passwords,
    needed_ssh_keys,
)

NAMESPACE = "mesh"

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


def configured(root: Path) -> StackConfiguration:
    """The configuration of the selected stack; ``root`` is the folder of the stack files.

    pulumi.RunError, which the engine shows without a traceback, with every problem of the stack
    file at once; warnings are shown beside the resources.
    """
    with _refusing():
        loaded = load(pulumi.get_stack(), from_engine(engine.CONFIG.get()), root)
        spec = for_preview(loaded)
        passwords = _secrets(PASSWORD_PREFIX, needed_passwords(spec))
        ssh_keys = _secrets(SSH_PREFIX, needed_ssh_keys(spec))
        digest = bundle.digest(bundle.build())
        configuration = StackConfiguration(
            spec, planning.make(spec), passwords, ssh_keys, digest, root
        )
    for problem in loaded.problems:
        pulumi.log.warn(str(problem))
    return configuration


def asked(configuration: StackConfiguration) -> None:
    """Check what only the providers, and the validator of the aggregates, can answer.

    pulumi.RunError with every problem at once; warnings and notes are shown beside the resources.
    """
    with _refusing():
        answers = list(providers.problems(configuration))
        found = [each for each in answers if isinstance(each, Problem)]
        problems = (*capacity.problems(configuration.plan), *found, *_unproven(configuration))
        if any(problem.severity != "warning" for problem in problems):
            raise SpecError(problems)
    for problem in problems:
        pulumi.log.warn(str(problem))
    if pulumi.runtime.is_dry_run():
        for note in (each for each in answers if isinstance(each, Note)):
            pulumi.log.info(str(note))


@contextmanager
def _refusing() -> Iterator[None]:
    """Raise problems as pulumi.RunError, which ends the program."""
    try:
        yield
    except SpecError as error:
        lines = "\n".join(f"  {_covered(problem)}" for problem in error.problems)
        raise pulumi.RunError(f"the configuration cannot be used:\n{lines}") from None


def _covered(problem: Problem) -> Problem:
    """The problem without the value of a key that is a secret of the stack, whole or in part."""
    key = re.split(r"[.\[]", problem.key, maxsplit=1)[0]
    has_secret = engine.is_config_secret(key) and key in engine.CONFIG.get()
    return replace(problem, value="[secret]") if has_secret else problem


def _unproven(configuration: StackConfiguration) -> tuple[Problem, ...]:
    """The aggregates that are not Valid by the VRPs of ``mesh:rpki.demand``; asked at every run,
    since a ROA may expire while nothing here changes."""
    demand, key = configuration.spec.rpki.demand, f"{NAMESPACE}:rpki.demand"
    if demand is None:
        return ()
    if is_ending():
        # `pulumi destroy --run-program` runs the program as an update does.
        reason = "it is not checked, since this run ends the network"
        cure = f"unset {VARIABLE} unless it does"
        return (Problem(key, str(demand), reason, cure, "warning"),)
    if not configuration.spec.protect:
        reason = "it is not checked, since mesh:protect is false, as for a network that ends"
        cure = "remove mesh:protect unless this network is to end"
        return (Problem(key, str(demand), reason, cure, "warning"),)
    # Imported here: most stacks demand nothing.
    from mesh.rpki import validate_plan

    return validate_plan(
        configuration.plan, demand, configuration.root, key, demanded=True
    ).problems


def _secrets(prefix: str, names: Sequence[str]) -> pulumi.Output[Mapping[str, str]]:
    """The secrets of that kind by name."""
    config = pulumi.Config(NAMESPACE)
    known = {key.removeprefix(f"{NAMESPACE}:") for key in engine.CONFIG.get()}
    counts = {name: prefix + given_secret(name, known, prefix) for name in names}
    for setting in dict.fromkeys(counts.values()):
        key = f"{NAMESPACE}:{setting}"
        if not engine.is_config_secret(key):
            pulumi.log.warn(
                f"{key} is in the stack file in the clear; "
                f"encrypt it with `pulumi config set --secret {key}`"
            )
    values = {name: config.require_secret(setting) for name, setting in counts.items()}
    # Without any, Output.all() would be a list.
    return pulumi.Output.secret(pulumi.Output.all(**values) if values else {})
