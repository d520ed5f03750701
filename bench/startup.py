"""From nothing running to all sessions up and every client answered; memory per node."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.deployed import NAME, cleared, mesh
from mesh import netns

NODES = 4


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    with cleared():
        yield "four cities: from nothing to every client answered", mesh("lab", "up"), "s"
        yield "four cities: a second `mesh lab up`, no change", mesh("lab", "up"), "s"
        yield "memory per node (all its processes, PSS)", memory("-vultr-1") / NODES, "MB"
        yield "memory of one upstream router (PSS)", memory("upstream-vultr-lax"), "MB"


def memory(box_ending: str) -> float:
    """Proportional set size of all processes in the boxes of that ending, in MB."""
    spaces = {
        path.stat().st_ino
        for path in netns.FOLDER.iterdir()
        if path.name.startswith(f"mesh-{NAME}-") and path.name.endswith(box_ending)
        and ("upstream" in box_ending or "upstream" not in path.name)
    }  # fmt: skip
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/net").stat().st_ino in spaces:
                rollup = (process / "smaps_rollup").read_text()
                total += int(re.findall(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[0])
        except (OSError, IndexError):
            continue  # it has ended, or is the kernel's
    return total / 1024
