"""`pulumi preview` of the lab's stack against an empty program, in turns in the same run."""

from __future__ import annotations

from collections.abc import Iterator

from bench.cost import Cost, measured, median, over
from bench.deployed import cleared, env, mesh, run
from mesh.cli.environment import checkout

TURNS = 5
EMPTY = "name: empty\nruntime:\n  name: python\n  options:\n    virtualenv: {venv}\n"


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    with cleared() as state:
        mesh("lab", "up")
        # In the checkout, so that the engine asks git of both programs.
        empty = state / "empty"
        empty.mkdir()
        (empty / "Pulumi.yaml").write_text(EMPTY.format(venv=checkout() / ".venv"))
        (empty / "__main__.py").write_text("")
        run(["pulumi", "--non-interactive", "stack", "init", "empty"], empty, env())
        config = str(state / "Pulumi.lab.yaml")
        mine = _preview("--stack", "lab", "--config-file", config)
        ours: list[Cost] = []
        theirs: list[Cost] = []
        for _ in range(TURNS):
            theirs.append(measured(lambda: run(_preview("--stack", "empty"), empty, env())))
            ours.append(measured(lambda: run(mine, checkout(), env())))
    floor = median(theirs)
    yield "pulumi preview: empty program, beside the lab", floor.wall, "s"
    yield "pulumi preview: empty program, beside the lab, CPU", floor.cpu, "s"
    yield from over("pulumi preview: four cities, deployed", median(ours), floor)


def _preview(*stack: str) -> list[str]:
    return ["pulumi", "--non-interactive", "preview", *stack]
