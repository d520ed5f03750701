"""Figures of earlier runs, kept outside the repository, and what has slipped since."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mesh.cli.environment import checkout

FILE = ".mesh/bench.json"
KEPT = 100
"""Runs in the file; older ones are left out."""

COSTS = frozenset({"s", "ms", "MB", "MiB", "x"})
"""Units of which less is better. A figure of another unit, as a count of files, shows how large a
case is, and is kept without being judged."""
SLIP = 4 / 3
"""What a figure may be times the one before."""


@dataclass(frozen=True, slots=True)
class Figure:
    """What one figure came to."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Slip:
    """A figure that is worse by more than a third than in the last run that had it."""

    name: str
    before: Figure
    now: Figure

    def __str__(self) -> str:
        times = self.now.value / self.before.value
        return (
            f"{self.name}: {self.before.value:.2f} {self.before.unit} before, "
            f"{self.now.value:.2f} {self.now.unit} now ({times:.2f} x)"
        )


@dataclass(frozen=True)
class Run:
    """One run: when (RFC 3339), of which commit, on what machine, and its figures by name."""

    date: str
    commit: str
    machine: str
    figures: dict[str, Figure] = field(default_factory=dict)


def slips(before: Mapping[str, Figure], now: Mapping[str, Figure]) -> list[Slip]:
    """What of ``now`` is worse than ``before`` by more than a third, in the order of ``now``."""
    both = [(name, before[name], figure) for name, figure in now.items() if name in before]
    return [
        Slip(name, old, new)
        for name, old, new in both
        if new.unit == old.unit and new.unit in COSTS and new.value > old.value * SLIP > 0
    ]


def last(runs: Iterable[Run], machine: str) -> dict[str, Figure]:
    """The last value of each figure on a machine: a run may have been of some benches only, and
    figures of different machines are not comparable."""
    known: dict[str, Figure] = {}
    for run in runs:
        if run.machine == machine:
            known.update(run.figures)
    return known


def read(path: Path) -> list[Run]:
    """The runs in a file, the oldest first; none where there is no file."""
    try:
        return [_run(entry) for entry in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(
            f"{path} cannot be read as figures of earlier runs ({error!r}); move it away, and the "
            "next run begins a new one"
        ) from None


def write(path: Path, runs: Sequence[Run]) -> None:
    """Keep the last of these runs in a file, whole at any moment."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps([asdict(run) for run in runs[-KEPT:]], indent=1) + "\n")
    beside.replace(path)


def begun() -> Run:
    """A run that begins now, of this checkout on this machine, without figures."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=checkout(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Run(date, commit.stdout.strip() or "unknown", machine())


def machine() -> str:
    """What of this machine decides how fast it is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {os.cpu_count()} processors, {memory:.0f} GiB"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _run(entry: Mapping[str, object]) -> Run:
    figures = entry["figures"]
    if not isinstance(figures, dict):
        raise TypeError("figures are no object")
    return Run(
        str(entry["date"]),
        str(entry["commit"]),
        str(entry["machine"]),
        {name: Figure(float(one["value"]), str(one["unit"])) for name, one in figures.items()},
    )
