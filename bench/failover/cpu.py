"""CPU of a process and of all that it has started, and of some of its threads."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """Seconds of CPU so far, those of its descendants included, ended or not."""
    families: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        families.setdefault(int(fields[1]), []).append(int(folder.name))
        # Its own, and those of its children that have ended.
        used[int(folder.name)] = sum(map(int, fields[11:15])) / TICKS
    return _sum(pid, families, used)


def _sum(pid: int, families: dict[int, list[int]], used: dict[int, float]) -> float:
    children = families.get(pid, [])
    return used[pid] + sum(_sum(child, families, used) for child in children)


def thread_seconds(pid: int, names: Collection[str]) -> float:
    """Seconds of CPU so far of the threads whose names begin so."""
    return sum(
        int((task / "schedstat").read_text().split()[0]) / 1e9
        for task in Path(f"/proc/{pid}/task").iterdir()
        if (task / "comm").read_text().startswith(tuple(names))
    )
