"""`pulumi preview` of real stacks, their cloud stood in for, against an empty program in turns.

Nothing has been deployed: everything is to be created, which is the most that a preview does.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.preview import EMPTY
from bench.thousand import fleet
from mesh.cli.environment import checkout
from tests.engine.clouds import KEYS, PASSWORD, deployment, production
from tests.engine.conftest import Engine
from tests.engine.standins.vultr import KEY, vultr

TURNS = 5
SIZES = (50, 100, 200)
SECRETS = {"vultr:apiKey": KEY, "mesh:bgpPassword-vultr": PASSWORD}
# The account's BGP page is asked over HTTPS, which a bench has no business with.
QUIET = {"vultr": {"checkAccount": False}}


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    stacks = {4: production(providers=QUIET), **{size: _fleet(size) for size in SIZES}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        engines = {
            size: running.enter_context(
                deployment(Path(folder, str(size)), keys, [vultr()], SECRETS)
            )
            for size, keys in stacks.items()
        }
        empty = _empty(Path(folder, "empty"), engines[4])
        taken: dict[int, list[float]] = {size: [] for size in (0, *stacks)}
        for turn in range(TURNS):
            taken[0].append(_timed(empty))
            for size, engine in engines.items():
                if size == 4 or turn < 2:  # the large ones show how it grows, and need no median
                    taken[size].append(_timed(engine))
    floor = statistics.median(taken[0])
    yield "pulumi preview: empty program", floor, "s"
    for size in stacks:
        seconds = statistics.median(taken[size])
        each = 1000 * (seconds - floor) / size
        name = "four cities of Pulumi.prod.yaml" if size == 4 else f"{size} nodes"
        yield f"pulumi preview: {name} at Vultr, nothing deployed", seconds, "s"
        yield f"pulumi preview: {name}, over the empty program", seconds / floor, "x"
        yield f"pulumi preview: {name}, per node above the floor", each, "ms"


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


def _timed(engine: Engine) -> float:
    began = time.perf_counter()
    engine.run("preview")
    return time.perf_counter() - began
