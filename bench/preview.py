"""`pulumi preview` of the lab's stack against an empty program, in turns in the same run."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.deployed import cleared, env, mesh, timed
from mesh.cli.environment import checkout

TURNS = 5
EMPTY = "name: empty\nruntime:\n  name: python\n  options:\n    virtualenv: {venv}\n"


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    with cleared() as state, tempfile.TemporaryDirectory() as folder:
        mesh("lab", "up")
        empty = Path(folder)
        (empty / "Pulumi.yaml").write_text(EMPTY.format(venv=checkout() / ".venv"))
        (empty / "__main__.py").write_text("")
        timed(["pulumi", "--non-interactive", "stack", "init", "empty"], empty, env())
        config = str(state / "Pulumi.lab.yaml")
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(TURNS):
            theirs.append(timed(_preview("--stack", "empty"), empty, env()))
            ours.append(
                timed(_preview("--stack", "lab", "--config-file", config), checkout(), env())
            )
    yield "pulumi preview: empty program", statistics.median(theirs), "s"
    yield "pulumi preview: four cities, deployed", statistics.median(ours), "s"
    yield "pulumi preview: ratio", statistics.median(ours) / statistics.median(theirs), "x"


def _preview(*stack: str) -> list[str]:
    return ["pulumi", "--non-interactive", "preview", *stack]
