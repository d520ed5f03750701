"""The lookout: what peers say, looked at every few seconds, and who is caught lying.

An alarm is raised when it stays: in the seconds of a failover, and while nodes take up a generation
one after the other, honest peers say things that do not fit.

An order to discard an address that a reflector tells of is one of the operator's, or invented. A
node that reaches no registry cannot know, and obeys: for that it is told. It says what it discards
on such a word; and who has told is accused only by a node that has asked a registry since, and has
no signed order that names the address.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from ipaddress import ip_network

from mesh.agent import log
from mesh.agent.config import Config
from mesh.agent.routing_audit import (
    Charge,
    Lasting,
    Order,
    PlannedRouting,
    Route,
    TransitPath,
    clients,
    floods,
    orders,
    parsed,
    transit_paths,
    violations,
)
from mesh.bird.client import Bird, BirdError
from mesh.trust.documents import (
    MAX_ALARMS,
    MAX_HEARSAY,
    MAX_WAYS,
    Alarm,
    Blackhole,
    BlackholeOrder,
    Hearsay,
)

LOOK = 5.0
"""Seconds between two looks."""
WAY = 10.0
"""Seconds after which a way is told: BFD and BGP are long done by then."""
ALARM = 30.0
"""Seconds for which something has to stay until it is an alarm."""
GAP = 60.0
"""Seconds for which a lie is not forgotten: whoever tells it on and off tells it all the same."""
ENDED = 300.0
"""Seconds for which an entry of an order may still be told after its end: a peer's clock is not
ours."""
_TOLD = "source = RTS_BGP && (65535, 666) ~ bgp_community"


class RoutingMonitor:
    """Watches one node's BIRD; ``changed`` is called when there is something new to report.

    ``ordered`` is the operator's order, verified here, and ``asked`` when a registry was asked last
    for a later one (monotonic seconds)."""

    def __init__(
        self,
        bird: Bird,
        changed: Callable[[], None],
        ordered: Callable[[], BlackholeOrder | None] = lambda: None,
        asked: Callable[[], float] = lambda: -math.inf,
    ) -> None:
        self._bird, self._changed = bird, changed
        self._ordered, self._asked = ordered, asked
        self._lock = threading.Lock()
        self._map: PlannedRouting | None = None
        self._generation = self._judged = 0
        """Generations since the start, and by which of them the last look was."""
        self._begin()
        self._alarms: dict[Charge, Alarm] = {}
        self._taken: frozenset[tuple[str, ...]] = frozenset()
        self._hearsay: frozenset[Order] = frozenset()

    def _begin(self) -> None:
        self._lies: Lasting[Charge] = Lasting(ALARM, GAP)
        self._ways: Lasting[tuple[str, ...]] = Lasting(WAY)
        self._odd: Lasting[Charge] = Lasting(ALARM)
        self._invented: Lasting[Order] = Lasting(ALARM, GAP)
        self._inventing: Lasting[str] = Lasting(ALARM)
        self._heard: Lasting[Order] = Lasting(WAY)

    def watch(self, config: Config) -> None:
        """Judges by this plan from now on; what was seen under another one counts no more. BIRD has
        just been told of it: what it has refused by another generation, as the words of a new
        reflector, is no lie if it refuses it no more."""
        found = None if config.underlay is None else PlannedRouting(config.node, config.underlay)
        with self._lock:
            self._generation += 1
            if found != self._map:
                self._map = found
                self._begin()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What stands against peers."""
        with self._lock:
            alarms = sorted(self._alarms.values(), key=lambda each: (each.mate, each.kind))
        return tuple(alarms[:MAX_ALARMS])

    @property
    def ways(self) -> tuple[tuple[str, ...], ...]:
        """The ways in use that lead through others."""
        with self._lock:
            return tuple(sorted(self._taken)[:MAX_WAYS])

    @property
    def hearsay(self) -> tuple[Hearsay, ...]:
        """What is discarded here on peers' word alone."""
        with self._lock:
            held = [(ip_network(prefix).network_address, mate) for mate, prefix in self._hearsay]
        held.sort(key=lambda one: (one[0].version, int(one[0]), one[1]))
        return tuple(Hearsay(address, mate) for address, mate in held[:MAX_HEARSAY])

    def run(self, stop: threading.Event) -> None:
        """Looks until ``stop`` is set."""
        while not stop.wait(LOOK):
            # That BIRD is away is seen in the sessions; what stood before stands until it is back.
            with contextlib.suppress(BirdError):
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look; ``now`` is monotonic seconds."""
        with self._lock:
            known, generation = self._map, self._generation
        if known is None:
            return
        refused, best = self._routes("filtered"), self._routes("primary")
        taken = self._routes("", _TOLD)
        up = {name for name, state in self._bird.sessions().items() if state == "Established"}
        shown = self._bird.ask("show protocols all")
        ours = clients(shown)
        told = violations(refused, known, ours) | floods(shown, known)
        around = transit_paths(best, known, up)
        invented = self._unsigned(orders((*taken, *refused), known, ours), ENDED)
        heard = self._unsigned(orders(taken, known, ours), 0.0)
        with self._lock:
            if known is not self._map:
                return
            if self._judged != generation:
                self._judged = generation
                self._lies.forget_all_but(told)
            self._judge(told, around, self._inventors(invented, now), heard, now)

    def _routes(self, which: str, where: str = "source = RTS_BGP") -> list[Route]:
        asked = (f"show route {which} table master{v} where {where} all" for v in (4, 6))
        return [route for each in asked for route in parsed(self._bird.ask(each))]

    def _unsigned(self, told: frozenset[Order], late: float) -> frozenset[Order]:
        """Of these orders those that the operator's does not name, nor one that has ended in the
        last ``late`` seconds."""
        order = self._ordered()
        entries: tuple[Blackhole, ...] = () if order is None else order.in_force(time.time() - late)
        named = {f"{entry.address}/{entry.address.max_prefixlen}" for entry in entries}
        return frozenset((mate, prefix) for mate, prefix in told if prefix not in named)

    def _inventors(self, told: frozenset[Order], now: float) -> dict[Charge, Alarm]:
        """Who tells of orders that the operator has not signed, as far as this node can know."""
        asked = self._asked()
        known = {o for o in self._invented.has(told, now) if self._invented.since(o) <= asked}
        # And who tells of another one each time.
        for mate in self._inventing.has({mate for mate, _ in told}, now):
            if self._inventing.since(mate) <= asked:
                known |= {order for order in told if order[0] == mate}
        return {
            (mate, "order"): Alarm(mate, "order", prefix)
            for mate, prefix in sorted(known, reverse=True)
        }

    def _judge(
        self,
        told: dict[Charge, Alarm],
        around: dict[str, TransitPath],
        invented: dict[Charge, Alarm],
        heard: frozenset[Order],
        now: float,
    ) -> None:
        # What a way costs is the plan's to say, and no peer can make its own the nearer one: whose
        # address it is, does not tell us of it itself. Who is on the way may be honest.
        odd = {
            (way.nodes[-1], "detour"): Alarm(
                way.nodes[-1], "detour", f"{prefix} by {' '.join(way.nodes)}"[:200]
            )
            for prefix, way in around.items()
            if way.odd
        }
        stands = self._lies.has(told, now) | self._odd.has(odd, now) | invented.keys()
        # The first example stays: what changes with every look would be reported each time.
        seen = told | odd | invented | self._alarms
        alarms = {charge: alarm for charge, alarm in seen.items() if charge in stands}
        for charge in sorted(alarms.keys() - self._alarms.keys()):
            log.warning("mate", **asdict(alarms[charge]))
        for mate, kind in sorted(self._alarms.keys() - alarms.keys()):
            log.info("mate-again", mate=mate, kind=kind)
        found = {way.nodes for way in around.values()}
        taken = frozenset(found & self._ways.has(found, now))
        hearsay = frozenset(heard & self._heard.has(heard, now))
        if (alarms, taken, hearsay) != (self._alarms, self._taken, self._hearsay):
            self._alarms, self._taken, self._hearsay = alarms, taken, hearsay
            self._changed()
