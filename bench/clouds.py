"""`pulumi preview` of real stacks, their cloud stood in for, against an empty program in turns.

Where nothing has been deployed everything is to be created, which is the most that a preview does;
the network that is deployed lives in this process, and is shown without a change.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.cost import Cost, measured, median, over
from bench.preview import EMPTY
from bench.thousand import fleet
from mesh.cli.environment import checkout
from tests.kit.clouds.deployment import KEYS, PASSWORD, production
from tests.kit.clouds.inhabitants import inhabited
from tests.kit.engine import Engine
from tests.kit.forks import without_forks
from tests.kit.vultr_api import KEY, Vultr, answering
from tests.kit.vultr_api.stack import UP, servers, stack

TURNS = 5
SIZES = (50, 100, 190)
SECRETS = {"vultr:apiKey": KEY, "mesh:bgpPassword-vultr": PASSWORD}
# The account's BGP page is asked over HTTPS, which a bench has no business with.
QUIET = {"vultr": {"checkAccount": False}}


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    stacks = {4: production(providers=QUIET), **{size: _fleet(size) for size in SIZES}}
    vultr = Vultr()
    with (
        tempfile.TemporaryDirectory() as folder,
        # In the checkout, so that the engine asks git of both programs.
        tempfile.TemporaryDirectory(dir=checkout() / ".mesh") as beside,
        answering(Vultr()) as served,
        answering(vultr) as lived_in,
        ExitStack() as running,
    ):
        engines = {
            _name(size): _whole(
                running.enter_context(stack(Path(folder, str(size)), served, keys, SECRETS))
            )
            for size, keys in stacks.items()
        }
        engines["four cities at Vultr, deployed"] = deployed = _whole(
            running.enter_context(stack(Path(folder, "deployed"), lived_in, stacks[4], SECRETS))
        )
        with inhabited(Path(folder, "inhabitants"), lambda: servers(vultr)):
            deployed.run(*UP)
        empty = _empty(Path(beside, "empty"), deployed)
        taken: dict[str, list[Cost]] = {name: [] for name in engines}
        floors = []
        for _ in range(TURNS):
            floors.append(measured(partial(empty.run, "preview")))
            for name, engine in engines.items():
                taken[name].append(measured(partial(engine.run, "preview")))
    floor = median(floors)
    yield "pulumi preview: empty program, beside Vultr", floor.wall, "s"
    yield "pulumi preview: empty program, beside Vultr, CPU", floor.cpu, "s"
    for name, costs in taken.items():
        yield from over(f"pulumi preview: {name}", median(costs), floor)
    for size in SIZES:
        cost, name = median(taken[_name(size)]), f"pulumi preview: {_name(size)}"
        yield f"{name}, per node above the floor", 1000 * (cost.wall - floor.wall) / size, "ms"
        yield f"{name}, per node above the floor, CPU", 1000 * (cost.cpu - floor.cpu) / size, "ms"


def _whole(engine: Engine) -> Engine:
    """The same with Python processes of its own, which import all that they need."""
    return replace(engine, environment=without_forks(engine.environment))


def _name(size: int) -> str:
    cities = "four cities of Pulumi.prod.yaml" if size == 4 else f"{size} nodes"
    return f"{cities} at Vultr, nothing deployed"


def _fleet(count: int) -> dict[str, Any]:
    keys = fleet(count) | {"providers": QUIET}
    keys["admin"] = {"ssh": ["207.231.1.46/32"], "keys": KEYS}
    return {f"mesh:{key}": value for key, value in keys.items()}


class _Empty(Engine):
    """A program that does nothing, in a folder of its own."""

    def _folder(self, _command: str) -> Path:
        return self.state


def _empty(folder: Path, like: Engine) -> Engine:
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text(EMPTY.format(venv=checkout() / ".venv"))
    (folder / "__main__.py").write_text("")
    made = _Empty(folder, "empty", folder / "Pulumi.empty.yaml", _plain(like.environment))
    made.config.write_text("config: {}\n")
    made.run("stack", "init")
    return made


def _plain(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k != "PULUMI_DEBUG_PROVIDERS"}
