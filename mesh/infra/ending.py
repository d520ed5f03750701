"""How the program knows that its run ends the network (``mesh destroy``, ``mesh lab down``): by a
variable in the run's environment, since a key of the stack file would stay there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mesh.spec import Problem

VARIABLE = "MESH_ENDING"

DESTROY = ("destroy", "--yes", "--skip-preview", "--suppress-outputs")
"""The engine's command. What is deleted was shown and agreed to before."""
GIVEN_UP = ("--run-program", "--ignore-protect")
"""Its options. The program runs for its hooks, by which servers drain before they are deleted.
Protected resources are deleted too, and stay protected in the state until then."""


def ending(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run that ends the network."""
    return {**environment, VARIABLE: "1"}


def is_ending() -> bool:
    """Whether this run ends the network."""
    return os.environ.get(VARIABLE) == "1"


def tolerated(problem: Problem) -> Problem:
    """The problem as a warning where this run ends the network: it is about what would be made, and
    by `pulumi destroy --run-program` the engine makes and changes nothing."""
    if not is_ending() or problem.severity == "warning":
        return problem
    cure = "nothing has to be done, since this run ends the network"
    return replace(problem, cure=cure, severity="warning")
