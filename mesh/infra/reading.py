"""The configuration of the selected stack, refused with all its problems at once.

A preview imports this while its first resources are registered (:mod:`mesh.infra.configuration`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pulumi
from pulumi.runtime import config as engine

from mesh import capacity, content
from mesh import plan as planning
from mesh.agent import bundle
from mesh.infra import providers
from mesh.infra.ending import VARIABLE, is_ending, tolerated
from mesh.infra.providers import StackConfiguration
from mesh.plan import Plan
from mesh.spec import (
    PASSWORD_PREFIX,
    RECEIVER_PREFIX,
    SSH_PREFIX,
    Note,
    Problem,
    Spec,
    SpecError,
    for_preview,
    from_engine,
    given_secret,
    load,
    needed_passwords,
    needed_receivers,
    needed_ssh_keys,
)

NAMESPACE = "mesh"


@dataclass(frozen=True)
class StackFile:
    """What a stack file says, without secrets: any thread may read it."""

    spec: Spec
    plan: Plan
    bundle: str
    warnings: tuple[Problem, ...]


def read(root: Path) -> StackFile:
    """Read and check the stack file; pulumi.RunError with every problem at once."""
    with _refusing():
        loaded = load(pulumi.get_stack(), from_engine(engine.CONFIG.get()), root)
        spec = for_preview(loaded)
        digest = bundle.digest(bundle.build())
        found = content.survey(root, spec)
        if any(problem.severity == "error" for problem in found.problems):
            raise SpecError(found.problems)
        plan = planning.make(spec, found.contents)
        return StackFile(spec, plan, digest, (*loaded.problems, *found.problems))


def with_secrets(file: StackFile, root: Path) -> StackConfiguration:
    """The configuration with its secrets; warnings are shown beside the resources."""
    passwords = _secrets(PASSWORD_PREFIX, needed_passwords(file.spec))
    ssh_keys = _secrets(SSH_PREFIX, needed_ssh_keys(file.spec))
    for problem in file.warnings:
        pulumi.log.warn(str(problem))
    return StackConfiguration(
        file.spec, file.plan, passwords, ssh_keys, file.bundle, root, _receivers(file.spec)
    )


def ask(configuration: StackConfiguration) -> None:
    """Check what only the providers, and the validator of the aggregates, can answer.

    pulumi.RunError with every problem at once; warnings and notes are shown beside the resources.
    """
    with _refusing():
        answers = list(providers.problems(configuration))
        found = [each for each in answers if isinstance(each, Problem)]
        sizes = map(tolerated, capacity.problems(configuration.plan))
        problems = (*sizes, *found, *_unproven(configuration))
        if any(problem.severity != "warning" for problem in problems):
            raise SpecError(problems)
    for problem in problems:
        pulumi.log.warn(str(problem))
    if pulumi.runtime.is_dry_run():
        for note in (each for each in answers if isinstance(each, Note)):
            pulumi.log.info(str(note))


def _receivers(spec: Spec) -> pulumi.Output[Mapping[str, str]] | None:
    """What the receivers of alerts keep to themselves; None where there is nothing, as in the
    state of an earlier version."""
    names = needed_receivers(spec)
    return _secrets(RECEIVER_PREFIX, names) if names else None


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
