"""Monitors the routes of peers, and raises alarms about those that violate the plan.

A violation has to last: during a failover, and while nodes apply a generation one after the other,
routes of healthy peers differ from the plan for seconds.

A blackhole that a reflector announces is in the operator's order, or forged. A node that reaches no
registry cannot decide that, and discards the address. It reports such addresses; it raises an alarm
about the peer only if it has asked a registry since, and no signed order names the address.
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
    AlarmKey,
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
"""Seconds after which a path is reported: BFD and BGP have converged by then."""
ALARM = 30.0
"""Seconds for which a violation has to last to raise an alarm."""
GAP = 60.0
"""Longest interruption of a violation, in seconds: one that comes and goes is one."""
ENDED = 300.0
"""Seconds after its end for which a peer may still announce a blackhole: clocks differ."""
_BLACKHOLES = "source = RTS_BGP && (65535, 666) ~ bgp_community"


class RoutingMonitor:
    """Monitors one node's BIRD; calls ``changed`` when there is something new to report.

    ``ordered`` returns the operator's verified order, and ``asked`` when a registry was last asked
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
        self._plan: PlannedRouting | None = None
        self._generation = self._judged = 0
        """Number of plans since the start, and that of the last look."""
        self._begin()
        self._alarms: dict[AlarmKey, Alarm] = {}
        self._in_use: frozenset[tuple[str, ...]] = frozenset()
        self._hearsay: frozenset[Order] = frozenset()

    def _begin(self) -> None:
        self._violations: Lasting[AlarmKey] = Lasting(ALARM, GAP)
        self._paths: Lasting[tuple[str, ...]] = Lasting(WAY)
        self._detours: Lasting[AlarmKey] = Lasting(ALARM)
        self._forged: Lasting[Order] = Lasting(ALARM, GAP)
        self._forging: Lasting[str] = Lasting(ALARM)
        self._unsigned_orders: Lasting[Order] = Lasting(WAY)

    def watch(self, config: Config) -> None:
        """Uses this plan from now on, and forgets what was seen under another one. Routes that BIRD
        rejected by the generation before, as of a new reflector, are no violation if it accepts
        them now."""
        found = None if config.underlay is None else PlannedRouting(config.node, config.underlay)
        with self._lock:
            self._generation += 1
            if found != self._plan:
                self._plan = found
                self._begin()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms about peers."""
        with self._lock:
            alarms = sorted(self._alarms.values(), key=lambda each: (each.mate, each.kind))
        return tuple(alarms[:MAX_ALARMS])

    @property
    def ways(self) -> tuple[tuple[str, ...], ...]:
        """The paths in use through other nodes."""
        with self._lock:
            return tuple(sorted(self._in_use)[:MAX_WAYS])

    @property
    def hearsay(self) -> tuple[Hearsay, ...]:
        """The addresses that are discarded here although no order of the operator names them."""
        with self._lock:
            held = [(ip_network(prefix).network_address, peer) for peer, prefix in self._hearsay]
        held.sort(key=lambda one: (one[0].version, int(one[0]), one[1]))
        return tuple(Hearsay(address, peer) for address, peer in held[:MAX_HEARSAY])

    def run(self, stop: threading.Event) -> None:
        """Runs until ``stop`` is set."""
        while not stop.wait(LOOK):
            # The sessions report that BIRD is down; alarms stay until it is back.
            with contextlib.suppress(BirdError):
                self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look; ``now`` is monotonic seconds."""
        with self._lock:
            known, generation = self._plan, self._generation
        if known is None:
            return
        rejected, best = self._routes("filtered"), self._routes("primary")
        accepted = self._routes("", _BLACKHOLES)
        up = {name for name, state in self._bird.sessions().items() if state == "Established"}
        shown = self._bird.ask("show protocols all")
        ours = clients(shown)
        violating = violations(rejected, known, ours) | floods(shown, known)
        transit = transit_paths(best, known, up)
        forged = self._unsigned(orders((*accepted, *rejected), known, ours), ENDED)
        discarded = self._unsigned(orders(accepted, known, ours), 0.0)
        with self._lock:
            if known is not self._plan:
                return
            if self._judged != generation:
                self._judged = generation
                self._violations.forget_all_but(violating)
            self._judge(violating, transit, self._forgers(forged, now), discarded, now)

    def _routes(self, which: str, where: str = "source = RTS_BGP") -> list[Route]:
        asked = (f"show route {which} table master{v} where {where} all" for v in (4, 6))
        return [route for each in asked for route in parsed(self._bird.ask(each))]

    def _unsigned(self, announced: frozenset[Order], late: float) -> frozenset[Order]:
        """Those that the operator's order does not name. Entries that ended in the last ``late``
        seconds count as named."""
        order = self._ordered()
        entries: tuple[Blackhole, ...] = () if order is None else order.in_force(time.time() - late)
        named = {f"{entry.address}/{entry.address.max_prefixlen}" for entry in entries}
        return frozenset((peer, prefix) for peer, prefix in announced if prefix not in named)

    def _forgers(self, forged: frozenset[Order], now: float) -> dict[AlarmKey, Alarm]:
        """Peers that announce blackholes without the operator's signature, if a registry was asked
        since."""
        asked = self._asked()
        known = {o for o in self._forged.has(forged, now) if self._forged.since(o) <= asked}
        # Also a peer that announces another one each time.
        for peer in self._forging.has({peer for peer, _ in forged}, now):
            if self._forging.since(peer) <= asked:
                known |= {order for order in forged if order[0] == peer}
        return {
            (peer, "order"): Alarm(peer, "order", prefix)
            for peer, prefix in sorted(known, reverse=True)
        }

    def _judge(
        self,
        violating: dict[AlarmKey, Alarm],
        transit: dict[str, TransitPath],
        forged: dict[AlarmKey, Alarm],
        discarded: frozenset[Order],
        now: float,
    ) -> None:
        # Costs come from the plan, and no peer can lower its own: the owner of the address does not
        # announce it to us. The nodes between may be healthy.
        detours = {
            (path.nodes[-1], "detour"): Alarm(
                path.nodes[-1], "detour", f"{prefix} by {' '.join(path.nodes)}"[:200]
            )
            for prefix, path in transit.items()
            if path.odd
        }
        lasting = self._violations.has(violating, now) | self._detours.has(detours, now)
        lasting |= forged.keys()
        # The first example stays: one that changed with every look would be reported each time.
        seen = violating | detours | forged | self._alarms
        alarms = {key: alarm for key, alarm in seen.items() if key in lasting}
        for key in sorted(alarms.keys() - self._alarms.keys()):
            log.warning("mate", **asdict(alarms[key]))
        for peer, kind in sorted(self._alarms.keys() - alarms.keys()):
            log.info("mate-again", mate=peer, kind=kind)
        found = {path.nodes for path in transit.values()}
        in_use = frozenset(found & self._paths.has(found, now))
        hearsay = frozenset(discarded & self._unsigned_orders.has(discarded, now))
        if (alarms, in_use, hearsay) != (self._alarms, self._in_use, self._hearsay):
            self._alarms, self._in_use, self._hearsay = alarms, in_use, hearsay
            self._changed()
