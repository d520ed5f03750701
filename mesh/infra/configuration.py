"""The stack's configuration as the engine hands it over, refused as a whole where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
from pulumi.runtime import config as engine

from mesh import plan as planning
from mesh.infra import providers
from mesh.spec import (
    PASSWORD_PREFIX,
    Spec,
    SpecError,
    for_preview,
    from_engine,
    load,
    needed_passwords,
)

NAMESPACE = "mesh"


@dataclass(frozen=True)
class Configuration:
    """The plan, the BGP passwords by provider (a secret), and whether what must survive is
    protected from deletion."""

    plan: planning.Plan
    passwords: pulumi.Output[Mapping[str, str]]
    protect: bool


def configured(root: Path) -> Configuration:
    """The configuration of the selected stack.

    ``root`` is where the stack files lie. pulumi.RunError, which the engine shows without a
    traceback, with every problem at once; warnings are shown beside the resources.
    """
    try:
        loaded = load(pulumi.get_stack(), from_engine(engine.CONFIG.get()), root)
        spec = for_preview(loaded)
        plan = planning.make(spec)
        problems = tuple(providers.missing(plan))
        if problems:
            raise SpecError(problems)
    except SpecError as error:
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        raise pulumi.RunError(f"the configuration cannot be used:\n{lines}") from None
    for problem in loaded.problems:
        pulumi.log.warn(str(problem))
    return Configuration(plan, _passwords(spec), spec.protect)


def _passwords(spec: Spec) -> pulumi.Output[Mapping[str, str]]:
    config = pulumi.Config(NAMESPACE)
    for provider in needed_passwords(spec):
        key = f"{NAMESPACE}:{PASSWORD_PREFIX}{provider}"
        if not engine.is_config_secret(key):
            pulumi.log.warn(
                f"{key} lies in the stack file in the clear; "
                f"encrypt it with `pulumi config set --secret {key}`"
            )
    return pulumi.Output.secret(
        pulumi.Output.all(
            **{
                provider: config.require_secret(PASSWORD_PREFIX + provider)
                for provider in needed_passwords(spec)
            }
        )
    )
