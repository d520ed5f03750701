"""The stack's configuration as the engine hands it over, refused as a whole where it is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pulumi
from pulumi.runtime import config as engine

from mesh import plan as planning
from mesh.infra import providers
from mesh.infra.providers import Setting
from mesh.roa import judge
from mesh.spec import (
    PASSWORD_PREFIX,
    SSH_PREFIX,
    Problem,
    SpecError,
    for_preview,
    from_engine,
    load,
    needed_passwords,
    needed_ssh_keys,
)

NAMESPACE = "mesh"


def configured(root: Path, bundle: str) -> Setting:
    """The configuration of the selected stack.

    ``root`` is where the stack files lie, ``bundle`` the SHA-256 of what nodes run.
    pulumi.RunError, which the engine shows without a traceback, with every problem at once;
    warnings are shown beside the resources.
    """
    try:
        loaded = load(pulumi.get_stack(), from_engine(engine.CONFIG.get()), root)
        spec = for_preview(loaded)
        passwords = _secrets(PASSWORD_PREFIX, needed_passwords(spec))
        ssh_keys = _secrets(SSH_PREFIX, needed_ssh_keys(spec))
        setting = Setting(spec, planning.make(spec), passwords, ssh_keys, bundle)
        problems = (*providers.problems(setting), *_unproven(setting, root))
        if any(problem.severity != "warning" for problem in problems):
            raise SpecError(problems)
    except SpecError as error:
        lines = "\n".join(f"  {problem}" for problem in error.problems)
        raise pulumi.RunError(f"the configuration cannot be used:\n{lines}") from None
    for problem in (*loaded.problems, *problems):
        pulumi.log.warn(str(problem))
    return setting


def _unproven(setting: Setting, root: Path) -> tuple[Problem, ...]:
    """What is not Valid by the VRPs that the stack demands it by (``mesh:rpki.demand``); asked at
    every run, for a ROA may expire while nothing here changes."""
    demand, key = setting.spec.rpki.demand, f"{NAMESPACE}:rpki.demand"
    if demand is None:
        return ()
    if not setting.spec.protect:
        # `pulumi destroy --run-program` runs the program as an update does.
        said = "it is not asked, since mesh:protect is false: a network that ends proves nothing"
        cure = "remove mesh:protect unless this network is to end"
        return (Problem(key, str(demand), said, cure, "warning"),)
    return judge(setting.plan, demand, root, key, demanded=True).problems


def _secrets(prefix: str, names: Sequence[str]) -> pulumi.Output[Mapping[str, str]]:
    """The secrets of that kind by provider."""
    config = pulumi.Config(NAMESPACE)
    for name in names:
        key = f"{NAMESPACE}:{prefix}{name}"
        if not engine.is_config_secret(key):
            pulumi.log.warn(
                f"{key} lies in the stack file in the clear; "
                f"encrypt it with `pulumi config set --secret {key}`"
            )
    values = {name: config.require_secret(prefix + name) for name in names}
    return pulumi.Output.secret(pulumi.Output.all(**values))
