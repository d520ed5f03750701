"""Warnings of configuration that only the engine can read."""

from __future__ import annotations

from dataclasses import replace

from mesh.spec.engine import Environment
from mesh.spec.model import DEFAULTS
from mesh.spec.problems import Problem

CURE = "`pulumi preview` opens it and checks everything"


def is_left_to_environment(environment: Environment, key: str) -> bool:
    """Whether a key that is not in the stack file comes from the environment, or may."""
    if environment.keys is not None and key in environment.keys:
        return True
    return key not in DEFAULTS and environment.may_set(key)


def from_environment(environment: Environment, key: str) -> Problem:
    """The warning of a key that the environment may set."""
    reason = f"it may come from {environment}, which only Pulumi ESC can open"
    return Problem(key, "unset", reason, CURE, "warning")


def encrypted(key: str) -> Problem:
    """The warning of a key that is encrypted, whole or in part."""
    reason = "it is encrypted, and only the engine has the stack's key to it"
    cure = "`pulumi preview` checks it; a twin cannot take it over, and needs its own"
    return Problem(key, "[secret]", reason, cure, "warning")


def not_opened(environment: Environment) -> Problem:
    """The warning of an environment that may change a configuration complete without it."""
    if environment.imports or environment.keys is None:
        what = "every mesh: key that the stack file does not have, and more in those that are maps"
    else:
        what = "more in " + ", ".join(f"mesh:{key}" for key in environment.keys)
    reason = f"its values are not included here: it may set {what}"
    return Problem("environment", str(environment), reason, CURE, "warning")


def not_taken_over(environment: Environment, original: str) -> Problem:
    """The warning of an environment of a twin's original."""
    reason = f"its values for {original} are not in the twin, which reads stack files only"
    cure = "write the values that the twin needs into its own stack file"
    return Problem("mesh:twin", str(environment), reason, cure, "warning")


def may_be_cured(problem: Problem, environment: Environment) -> Problem:
    """The warning of an error that the environment may solve."""
    reason = f"{problem.reason}, unless {environment} adds it"
    return replace(problem, reason=reason, severity="warning")
