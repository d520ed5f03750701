"""Which node has taken over which generation, and when, by the files on the nodes' disks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mesh.agent.state import APPLIED
from mesh.lab.lab_files import files_of
from tests.kit.wait import repeating

LOOK = 0.05


@dataclass(frozen=True, slots=True)
class Taken:
    """A generation is in force at a node from this moment on (monotonic seconds)."""

    at: float
    node: str
    generation: int


@dataclass
class Watch:
    """What has been taken over since the watch began, in its order."""

    taken: list[Taken] = field(default_factory=list)

    def nodes(self, generation: int) -> tuple[str, ...]:
        """The nodes that had this generation in force at some time."""
        return tuple(dict.fromkeys(t.node for t in self.taken if t.generation == generation))


@contextmanager
def watching(lab: str) -> Iterator[Watch]:
    """Look at all nodes' disks until the end."""
    found = Watch()
    known, written = in_force(lab), dict[Path, int]()

    def look() -> None:
        for node, path in _files(lab).items():
            generation = _changed(path, written)
            if generation is not None and generation != known.get(node):
                known[node] = generation
                found.taken.append(Taken(time.monotonic(), node, generation))

    with repeating(look, LOOK):
        yield found


def in_force(lab: str) -> dict[str, int]:
    """The generation in force at each node."""
    return {
        node: generation
        for node, path in _files(lab).items()
        if (generation := _changed(path, {})) is not None
    }


def _files(lab: str) -> dict[str, Path]:
    root = files_of(lab).storage / "nodes"
    return {path.name: path / "upper" / APPLIED.lstrip("/") for path in root.glob("*")}


def _changed(path: Path, written: dict[Path, int]) -> int | None:
    """The generation in a file that was written since the last look; None where it was not."""
    try:
        at = path.stat().st_mtime_ns
        if written.get(path) == at:
            return None
        written[path] = at
        return int(json.loads(path.read_bytes())["generation"])
    except (OSError, ValueError):
        return None
