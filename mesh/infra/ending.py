"""How the program is told that its run ends the network (``mesh destroy``, ``mesh lab down``).

By a variable of that run's own environment: a key of the stack file would stay there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

VARIABLE = "MESH_ENDING"

DESTROY = ("destroy", "--yes", "--skip-preview", "--suppress-outputs")
"""The engine's command: what goes has been shown, and agreed to."""
GIVEN_UP = ("--run-program", "--ignore-protect")
"""Its options. The program runs, for its hooks: servers drain before they go. What is protected
goes by this run, and stays protected in the state until it has gone."""


def ending(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run that ends the network."""
    return {**environment, VARIABLE: "1"}


def is_ending() -> bool:
    """Whether this run ends the network."""
    return os.environ.get(VARIABLE) == "1"
