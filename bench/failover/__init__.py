"""From the death of a daemon until another place answers: this product beside ExaBGP's healthcheck
and anycast-healthchecker, each as shipped and as fast as it gets, in one run.

Real daemons in network namespaces, and a client that asks every four milliseconds in both
families. The rivals come from PyPI into a folder of their own.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.failover.client import RATE
from bench.failover.cpu import seconds_of, thread_seconds
from bench.failover.rivals import AnycastHealthchecker, ExaBgp, NotHere, installed
from bench.failover.sites import ADDRESSES, FASTEST, Ours, Site
from tests.kit.machines import Wire


@dataclass(frozen=True)
class Length:
    """How many trials there are of each kind, for how many seconds idle CPU is counted, and for how
    many losses after a move."""

    trials: int
    idle: float
    after: float


SHORT, WHOLE = Length(5, 20.0, 10.0), Length(15, 30.0, 60.0)
PORTS = range(10_000, 10_400)
"""Source ports that are used before a move and after it; none that the kernel gives to others."""
HELD = 20
"""Connections of each family that are open over a move."""
SILENT = 10.0

Makes = Callable[[Wire], Site]

OURS: dict[str, Makes] = {
    "this product, as shipped": lambda wire: Ours(wire, {}),
    "this product, fastest": lambda wire: Ours(wire, FASTEST),
}
RIVALS: dict[str, Makes] = {
    "ExaBGP, as shipped": lambda wire: ExaBgp(wire, fastest=False),
    "ExaBGP, fastest": lambda wire: ExaBgp(wire, fastest=True),
    "anycast-healthchecker, as shipped": lambda wire: AnycastHealthchecker(wire, fastest=False),
    "anycast-healthchecker, fastest": lambda wire: AnycastHealthchecker(wire, fastest=True),
}


def short() -> Iterator[tuple[str, float, str]]:
    """This product as shipped alone: two minutes."""
    name = "this product, as shipped"
    return _figures(name, OURS[name], SHORT)


def figures() -> Iterator[tuple[str, float, str]]:
    """All of them: an hour, most of which the rivals' intervals take."""
    for name, makes in OURS.items():
        yield from _figures(name, makes, WHOLE)
    try:
        installed()
    except NotHere as error:
        print(f"not compared: {error}", file=sys.stderr)
        return
    for name, makes in RIVALS.items():
        yield from _figures(name, makes, WHOLE)


@contextmanager
def _site(makes: Makes) -> Iterator[Site]:
    """Both places, in operation."""
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(Path(folder))
        try:
            site = makes(wire)
            try:
                yield site
            finally:
                site.close()
        finally:
            wire.close()


def _figures(name: str, makes: Makes, length: Length) -> Iterator[tuple[str, float, str]]:
    trials = length.trials
    with _site(makes) as site:
        whole, checking = _idle(site, length.idle)
        yield f"{name}: idle CPU", whole, "% of a core"
        if site.threads:
            yield f"{name}: idle CPU of checks and announcement alone", checking, "% of a core"
        for what, act in (("killed", site.kill), ("hung", site.freeze)):
            taken = [_trial(site, act, turn / trials) for turn in range(trials)]
            for family in ADDRESSES:
                found = sorted(1000 * each[family] for each in taken)
                yield (
                    f"{name}: {what} → elsewhere, {family}, median",
                    statistics.median(found),
                    "ms",
                )
                yield f"{name}: {what} → elsewhere, {family}, p95", _p95(found), "ms"
        moves = sum(_moves(site, turn / trials) for turn in range(trials))
        yield f"{name}: moves by single lost checks, of {trials}", moves, "count"
        for what, act in (("killed", site.kill), ("hung", site.freeze)):
            new, used = _after(site, act, length.after)
            since = f"{what}, lost in the {length.after:g} s after"
            yield f"{name}: {since}, new source ports", new, "count"
            yield f"{name}: {since}, used source ports", used, "count"
        yield f"{name}: hung, open connections silent at most", 1000 * _silence(site), "ms"


def _trial(site: Site, act: Callable[[], None], phase: float) -> dict[str, float]:
    """One move and the way back, at this part of the time between two checks."""
    time.sleep(1 + phase * site.interval)
    taken = site.client.moved(site.home, act, site.longest)
    _back(site)
    return taken


def _back(site: Site) -> None:
    site.serve(site.home)
    site.client.served_by(site.home)


def _moves(site: Site, phase: float) -> bool:
    """Whether one lost check moves anything."""
    time.sleep(0.5 + phase * site.interval)
    seconds = max(1.0, 2.5 * site.interval)
    taken = site.client.moved(site.home, site.lose_one, seconds)
    if site.is_to_lose:
        raise SystemExit("no check was lost")
    moved = min(taken.values()) < seconds
    _back(site)
    return moved


def _after(site: Site, act: Callable[[], None], seconds: float) -> tuple[int, int]:
    """What is lost after a move, from new source ports and from those used before it."""
    site.client.lost(len(PORTS) / RATE, PORTS)
    site.client.moved(site.home, act, site.longest)
    lost = site.client.lost(seconds, PORTS)
    _back(site)
    return lost


def _silence(site: Site) -> float:
    """The longest silence of a connection after the move: until it is reset."""

    def move() -> None:
        site.client.moved(site.home, site.freeze, site.longest)

    found = site.client.reset(HELD, move, SILENT)
    _back(site)
    return max(found)


def _idle(site: Site, seconds: float) -> tuple[float, float]:
    """Percent of a core that the checking process takes with its children, and those of its threads
    that check."""
    time.sleep(2)
    began = time.monotonic()
    whole, checking = _cpu(site)
    time.sleep(seconds)
    now, passed = _cpu(site), time.monotonic() - began
    return 100 * (now[0] - whole) / passed, 100 * (now[1] - checking) / passed


def _cpu(site: Site) -> tuple[float, float]:
    return seconds_of(site.checker), thread_seconds(site.checker, site.threads)


def _p95(values: list[float]) -> float:
    return values[math.ceil(0.95 * len(values)) - 1]
