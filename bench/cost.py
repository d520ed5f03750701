"""What a command costs: seconds by the clock, and seconds of CPU of all its processes."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds by the clock, which a busy machine stretches, and of CPU, which it hardly does."""

    wall: float
    cpu: float


def measured(run: Callable[[], object]) -> Cost:
    """What the processes cost that a call starts and waits for; its own process is not counted."""
    began, used = time.perf_counter(), _children()
    run()
    return Cost(time.perf_counter() - began, _children() - used)


def median(costs: Sequence[Cost]) -> Cost:
    """The medians of both."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
    )


def over(name: str, cost: Cost, floor: Cost) -> Iterator[tuple[str, float, str]]:
    """The figures of a command beside one that does nothing."""
    yield name, cost.wall, "s"
    yield f"{name}, CPU", cost.cpu, "s"
    yield f"{name}, over the empty program", cost.wall / floor.wall, "x"
    yield f"{name}, over the empty program, CPU", cost.cpu / floor.cpu, "x"


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
