"""The lookout: what mates say, looked at every few seconds, and who is caught lying.

An alarm is raised when it stays: in the seconds of a failover, and while nodes take up a generation
one after the other, honest mates say things that do not fit.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import asdict

from mesh.agent import log
from mesh.agent.bird import Bird, BirdError
from mesh.agent.config import Config
from mesh.agent.paths import Charge, Map, Route, Steady, Way, floods, lies, parsed, ways
from mesh.trust.documents import MAX_ALARMS, MAX_WAYS, Alarm

LOOK = 5.0
"""Seconds between two looks."""
WAY = 10.0
"""Seconds after which a way is told: BFD and BGP are long done by then."""
ALARM = 30.0
"""Seconds for which something has to stay until it is an alarm."""
GAP = 60.0
"""Seconds for which a lie is not forgotten: whoever tells it on and off tells it all the same."""


class Lookout:
    """Watches one node's BIRD; ``changed`` is called when there is something new to report."""

    def __init__(self, bird: Bird, changed: Callable[[], None]) -> None:
        self._bird, self._changed = bird, changed
        self._lock = threading.Lock()
        self._map: Map | None = None
        self._begin()
        self._alarms: dict[Charge, Alarm] = {}
        self._taken: frozenset[tuple[str, ...]] = frozenset()

    def _begin(self) -> None:
        self._lies = Steady(ALARM, GAP)
        self._ways = Steady(WAY)
        self._odd = Steady(ALARM)

    def watch(self, config: Config) -> None:
        """Judges by this plan from now on; what was seen under another one counts no more."""
        found = None if config.underlay is None else Map(config.node, config.underlay)
        with self._lock:
            if found != self._map:
                self._map = found
                self._begin()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What stands against mates."""
        with self._lock:
            alarms = sorted(self._alarms.values(), key=lambda each: (each.mate, each.kind))
        return tuple(alarms[:MAX_ALARMS])

    @property
    def ways(self) -> tuple[tuple[str, ...], ...]:
        """The ways in use that lead through others."""
        with self._lock:
            return tuple(sorted(self._taken)[:MAX_WAYS])

    def run(self, stop: threading.Event) -> None:
        """Looks until ``stop`` is set."""
        while not stop.wait(LOOK):
            # That BIRD is away is seen in the sessions; what stood before stands until it is back.
            with contextlib.suppress(BirdError):
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look; ``now`` is monotonic seconds."""
        known = self._map
        if known is None:
            return
        refused, best = self._routes("filtered"), self._routes("primary")
        up = {name for name, state in self._bird.sessions().items() if state == "Established"}
        told = lies(refused, known) | floods(self._bird.ask("show protocols all"), known)
        around = ways(best, known, up)
        with self._lock:
            if known is not self._map:
                return
            self._judge(told, around, now)

    def _routes(self, which: str) -> list[Route]:
        asked = (f"show route {which} table master{v} where source = RTS_BGP all" for v in (4, 6))
        return [route for each in asked for route in parsed(self._bird.ask(each))]

    def _judge(self, told: dict[Charge, Alarm], around: dict[str, Way], now: float) -> None:
        # What a way costs is the plan's to say, and no mate can make its own the nearer one: whose
        # address it is, does not tell us of it itself. Who is on the way may be honest.
        odd = {
            (way.nodes[-1], "detour"): Alarm(
                way.nodes[-1], "detour", f"{prefix} by {' '.join(way.nodes)}"[:200]
            )
            for prefix, way in around.items()
            if way.odd
        }
        stands = self._lies.has(told, now) | self._odd.has(odd, now)
        # The first example stays: what changes with every look would be reported each time.
        seen = told | odd | self._alarms
        alarms = {charge: alarm for charge, alarm in seen.items() if charge in stands}
        for charge in sorted(alarms.keys() - self._alarms.keys()):
            log.warning("mate", **asdict(alarms[charge]))
        for mate, kind in sorted(self._alarms.keys() - alarms.keys()):
            log.info("mate-again", mate=mate, kind=kind)
        found = {way.nodes for way in around.values()}
        taken = frozenset(found & self._ways.has(found, now))
        if (alarms, taken) != (self._alarms, self._taken):
            self._alarms, self._taken = alarms, taken
            self._changed()
