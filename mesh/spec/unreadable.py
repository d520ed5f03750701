"""What of a configuration only the engine can read, told as warnings."""

from __future__ import annotations

from dataclasses import replace

from mesh.spec.engine import Environment
from mesh.spec.model import DEFAULTS
from mesh.spec.problems import Problem

CURE = "`pulumi preview` opens it and judges the whole"


def is_left_to(environment: Environment, key: str) -> bool:
    """Whether a key that the stack file lacks has to come from the environment, or does."""
    if environment.keys is not None and key in environment.keys:
        return True
    return key not in DEFAULTS and environment.may_set(key)


def left_to(environment: Environment, key: str) -> Problem:
    """A key that is missing here."""
    reason = f"it may come from {environment}, which only Pulumi ESC can open"
    return Problem(key, "unset", reason, CURE, "warning")


def sealed(key: str) -> Problem:
    """A key, or a part of one, that is encrypted."""
    reason = "it is encrypted, and only the engine has the stack's key to it"
    cure = "`pulumi preview` judges it; a twin cannot take it over, and needs its own"
    return Problem(key, "[secret]", reason, cure, "warning")


def unopened(environment: Environment) -> Problem:
    """What an environment may add to a configuration that is complete without it."""
    if environment.imports or environment.keys is None:
        what = "every mesh: key that the stack file lacks, and more in those that are maps"
    else:
        what = "more in " + ", ".join(f"mesh:{key}" for key in environment.keys)
    reason = f"what it adds is not part of this: it may set {what}"
    return Problem("environment", str(environment), reason, CURE, "warning")


def not_taken_over(environment: Environment, original: str) -> Problem:
    """What an environment adds to the original of a twin."""
    reason = f"what it adds to {original} is no part of the twin, which reads stack files only"
    cure = "write in the twin's own stack file what it needs of that"
    return Problem("mesh:twin", str(environment), reason, cure, "warning")


def may_be_cured(problem: Problem, environment: Environment) -> Problem:
    """The problem, as a warning where what is missing may come from an environment."""
    if problem.severity != "error":
        return problem
    reason = f"{problem.reason}, unless {environment} adds it"
    return replace(problem, reason=reason, severity="warning")
