"""Which service addresses are bound on this node, and whether it announces the aggregates.

BIRD originates a bound address into iBGP. It announces the aggregates to the upstreams by the state
in a file that it includes.

    checks ──► up? ──► bound on dummy0 ──► iBGP
                          │
              reachable instance? ──► IN_SERVICE ──► upstreams

A node drains in steps, so that traffic moves to other paths before this one ends: it marks its
routes for graceful shutdown, withdraws, and unbinds its service addresses last.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from mesh.agent import file_paths, log
from mesh.agent.config import Config, NodeService
from mesh.agent.host import CommandFailed, Host
from mesh.agent.interface import addresses_on, line, shown_on
from mesh.agent.repairs import Repairs
from mesh.agent.workers import Workers
from mesh.bird.client import Ask, Bird, BirdError, NotRunning
from mesh.bird.questions import constant
from mesh.foreign import printable
from mesh.services.checks import Check
from mesh.trust.documents import MAX_ERROR, MAX_FAILURES

TICK = 0.25
"""Seconds between two looks at routes and at BIRD's file."""
INTERFACE = 10.0
"""Seconds between two looks at the interface itself, unless the kernel notifies of a change."""
RECONCILE = 2.0
"""Seconds between two queries of the state that BIRD runs with, and until a failed configuration or
binding is tried again."""
SHUTDOWN = 5.0
"""Seconds of graceful shutdown (RFC 8326) before a draining node withdraws."""
STEADY = 20.0
"""Seconds after which the agent counts as working although not all checks have a verdict: some take
minutes. A broken agent does not run for that long."""
ANSWER = 2.0
"""Timeout of the query, in seconds."""
LINGER = 2.0
"""Seconds after the withdrawal for which the node still serves packets that are on their way."""


@dataclass(frozen=True, slots=True)
class AnnounceState:
    """The state in BIRD's file: whether this node is in service, and whether it drains, that is,
    marks its announcements for graceful shutdown and serves no peer."""

    in_service: bool = False
    draining: bool = False

    def file(self) -> bytes:
        """The file's content."""
        values = (("IN_SERVICE", self.in_service), ("DRAINING", self.draining))
        return "".join(
            f"define {name} = {'true' if value else 'false'};\n" for name, value in values
        ).encode()


def written_state(host: Host) -> AnnounceState:
    """The state in BIRD's file; out of service if there is no file."""
    text = host.read(file_paths.ANNOUNCE) or b""
    return AnnounceState(b"IN_SERVICE = true;" in text, b"DRAINING = true;" in text)


def running_state(ask: Ask) -> AnnounceState:
    """The state that BIRD runs with; its file may differ."""
    return AnnounceState(constant(ask, "IN_SERVICE"), constant(ask, "DRAINING"))


@dataclass(slots=True)
class DrainSequence:
    """The steps of a node that drains, and when BIRD ran with each (monotonic seconds).

    Announcements are marked for graceful shutdown for SHUTDOWN, then withdrawn. After LINGER
    ``done`` is set and the service addresses are unbound.
    """

    leaving: float | None = None
    gone: float | None = None
    done: bool = False

    def state(self, now: float, announcing: bool) -> AnnounceState:
        """The state for BIRD now. A node that does not announce skips graceful shutdown."""
        warned = self.leaving is not None and now - self.leaving >= SHUTDOWN
        return AnnounceState(announcing and not warned, draining=True)

    def record(self, state: AnnounceState, now: float) -> None:
        """BIRD runs with this state."""
        if state.in_service:
            self.leaving = now if self.leaving is None else self.leaving
        else:
            self.gone = now if self.gone is None else self.gone

    def is_over(self, now: float) -> bool:
        """Whether LINGER has passed since the withdrawal."""
        return self.gone is not None and now - self.gone >= LINGER


@dataclass(slots=True)
class CheckState:
    """Rise and fall of one check."""

    check: Check
    up: bool = False
    streak: int = 0
    reason: str = "was not asked yet"
    """Why the last bad answer was bad."""
    asked: bool = False

    @property
    def judged(self) -> bool:
        """Whether its state follows from its own answers. A check that was adopted as up, and fails
        now, is judged once it is down."""
        return self.asked and not (self.up and self.streak)

    def record(self, healthy: bool) -> bool:
        """Counts one answer; whether the check is up after it."""
        self.asked = True
        self.streak = self.streak + 1 if healthy != self.up else 0
        if self.streak >= (self.check.rise if healthy else self.check.fall):
            self.up, self.streak = healthy, 0
        return self.up


@dataclass(slots=True)
class LocalService:
    """A service that this node may serve, with its checks' states."""

    service: NodeService
    watches: list[CheckState] = field(default_factory=list)

    @property
    def up(self) -> bool:
        """Whether all checks pass; a service without checks is up."""
        return all(watch.up for watch in self.watches)

    @property
    def addresses(self) -> frozenset[str]:
        """Its addresses."""
        return frozenset(str(address) for address in self.service.addresses)

    @property
    def failure(self) -> str:
        """Why it is down: the checks that do not pass, with reasons. Empty if it is up."""
        return "; ".join(
            f"{watch.check.subject}: {watch.reason}" for watch in self.watches if not watch.up
        )


@dataclass(frozen=True, slots=True)
class Routes:
    """Host routes of the kernel through a tunnel."""

    addresses: frozenset[str]

    @staticmethod
    def parsed(text: str) -> Routes:
        """From ``ip -json route show``."""
        found = (route for route in json.loads(text or "[]") if _by_tunnel(route))
        return Routes(frozenset(str(route["dst"]).split("/")[0] for route in found))


def in_service(config: Config, up: frozenset[str], routes: Routes, before: bool) -> bool:
    """Whether a node announces the aggregates.

    Yes while a healthy instance of some service is reachable: here, or over a tunnel. A plan
    without services counts reachable peers instead. The floor: if peers are reachable and no
    instance is, the service is down everywhere, and a node that announces continues.
    """
    peers = any(str(peer) in routes.addresses for peer in config.mates)
    if not config.services:
        return peers or (before and not config.mates)
    reachable = bool(up) or any(
        str(address) in routes.addresses
        for service in config.services
        for address in service.addresses
    )
    return reachable or (before and peers)


class Announcer:
    """Binds service addresses and announces by the checks of one node."""

    def __init__(
        self,
        host: Host,
        bird: Bird,
        changed: Callable[[], None],
        workers: Workers,
        repairs: Repairs | None = None,
    ) -> None:
        self._host, self._bird, self._changed, self._workers = host, bird, changed, workers
        self._repairs = repairs or Repairs()
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._config: Config | None = None
        self._locals: dict[str, LocalService] = {}
        self._generation = 0
        self._bound: frozenset[str] = frozenset()
        self._missing: frozenset[str] = frozenset()
        """Addresses that somebody else has unbound during a hold."""
        self._unbound = ""
        """Why the last change of the interface failed."""
        self._state = written_state(host)
        self._running = self._state
        self._bird_is: Literal["here", "silent", "away"] = "silent"
        self._asked = self._tried = -math.inf
        self._refusal = ""
        self._retired = False
        self._drain_sequence: DrainSequence | None = None
        self._born = time.monotonic()
        self._looked = -math.inf
        self._failing: dict[str, str] = {}
        """Steps of the loop that fail, with reasons."""
        self.works = False
        """Whether it has been shown to work: all checks have a verdict or STEADY has passed, BIRD
        runs with the state of the file, and no step fails."""
        self.beat = time.monotonic()
        """When the loop last ran without a failure, for the watchdog."""

    # --- called by the agent -----------------------------------------------------------------

    def watch(self, config: Config) -> None:
        """Uses this configuration from now on. A bound address counts as up until its checks fail:
        a restart of the agent moves no traffic."""
        with self._lock:
            old = self._config
            bound = self._seen(config.interface)
            self._retired = False
            self._config = config
            self._generation += 1
            self._locals = {
                service.name: _adopted(service, bound)
                for service in config.services
                if service.local
            }
            left = _addresses(old) - _addresses(config) if old is not None else frozenset()
            ours = frozenset(_addresses(config) | left)
            self._bound = bound & ours
            self._reconcile()
            for local in self._locals.values():
                for watch in local.watches:
                    self._start(local, watch)
        self._wake.set()

    def look_soon(self) -> None:
        """Looks at the interface in the next round: it may have been changed."""
        self._looked = -math.inf
        self._wake.set()

    def retire(self) -> None:
        """Withdraws and unbinds, whatever checks and floor: the network is taken down."""
        with self._lock:
            self._retired = True
        self._wake.set()

    def drain(self, wanted: bool) -> None:
        """Drains the node, or ends that. By the operator's order, so the floor does not count."""
        with self._lock:
            if wanted == (self._drain_sequence is not None):
                return
            self._drain_sequence = DrainSequence() if wanted else None
            self._reconcile()
        log.info("drain", wanted=wanted)
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Runs until ``stop`` is set."""
        while not stop.is_set():
            self._round()
            self._wake.wait(TICK)
            self._wake.clear()

    def services(self) -> dict[str, bool]:
        """Services that this node may serve, and whether it does."""
        with self._lock:
            serving = not self._retired and not self.drained
            return {name: serving and local.up for name, local in self._locals.items()}

    def failures(self) -> dict[str, str]:
        """Why services that this node may serve are down."""
        with self._lock:
            found = {
                name: local.failure or self._not_bound(local)
                for name, local in self._locals.items()
            }
        return {
            name: printable(failure)[:MAX_ERROR]
            for name, failure in sorted(found.items())[:MAX_FAILURES]
            if failure
        }

    def _not_bound(self, local: LocalService) -> str:
        if missing := sorted(local.addresses & self._missing):
            return f"{', '.join(missing)} was taken from this node, which is held"
        return "" if local.addresses <= self._bound else self._unbound

    @property
    def faults(self) -> dict[str, str]:
        """Why bindings or announcement are not in the wanted state."""
        applied = not self._refusal or self._is_in_force(self._state)
        found = {} if applied else {"announce": self._refusal}
        if failing := "; ".join(self._failing.copy().values()):
            found["presence"] = failing
        return found

    @property
    def announcing(self) -> bool:
        """Whether BIRD runs with this node in service, by its last answer."""
        return self._running.in_service

    @property
    def gone(self) -> bool:
        """Whether the node has withdrawn and serves nothing because the network is taken down."""
        withdrawn = not self._state.in_service and self._is_in_force(self._state)
        return self._retired and withdrawn and not self._bound

    @property
    def drained(self) -> bool:
        """Whether the node has withdrawn and serves nothing because of a drain order."""
        return self._is_off and not self._bound

    @property
    def _is_off(self) -> bool:
        sequence = self._drain_sequence
        return sequence is not None and sequence.done

    # --- the loop ----------------------------------------------------------------------------

    def _round(self) -> None:
        """One round. After a failed step the others still run, and the watchdog gets no beat."""
        began = time.monotonic()
        if began - self._looked >= (RECONCILE if self._unbound else INTERFACE):
            self._looked = began
            self._step("interface", self._look_again)
        self._step("announcement", self._announce)
        if self._retired:
            # After the withdrawal: packets that still arrive are served.
            self._step("retirement", self._reconcile_locked)
        if not self._failing:
            self.works = self.works or self._shows()
            self.beat = time.monotonic()

    def _step(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # The node's other work goes on, whatever fails here.
            reason = printable(f"{name}: {type(error).__name__}: {error}")
            if self._failing.get(name) != reason:
                self._failing[name] = reason
                log.warning("presence", reason=reason)
                self._changed()
            return
        if self._failing.pop(name, ""):
            self._changed()

    # --- checks and bindings -----------------------------------------------------------------

    def _start(self, local: LocalService, watch: CheckState) -> None:
        generation = self._generation

        def loop() -> None:
            while True:
                began = time.monotonic()
                problem = _problem(watch.check)
                with self._lock:
                    if self._generation != generation:
                        return
                    was = local.up
                    watch.record(not problem)
                    watch.reason = problem or watch.reason
                    if local.up != was:
                        log.info(
                            "service", name=local.service.name, up=local.up, reason=local.failure
                        )
                        self._reconcile()
                        self._wake.set()
                time.sleep(max(0.0, watch.check.interval - (time.monotonic() - began)))

        self._workers.start(f"check {local.service.name}", loop, lasting=False)

    def _wanted(self) -> frozenset[str]:
        if self._retired or self._is_off:
            return frozenset()
        up = frozenset(
            str(address)
            for local in self._locals.values()
            if local.up
            for address in local.service.addresses
        )
        # A draining node binds no new address.
        return up if self._drain_sequence is None else up & self._bound

    def _reconcile(self) -> None:
        """Binds and unbinds the difference, in one go."""
        if self._config is None:
            return
        wanted, interface = self._wanted(), self._config.interface
        lines = [line("replace", a, interface) for a in sorted(wanted - self._bound)]
        lines += [line("del", a, interface) for a in sorted(self._bound - wanted)]
        if not lines:
            return
        result = self._host.run("ip", "-force", "-batch", "-", given="\n".join(lines) + "\n")
        before, self._bound = self._bound, wanted
        refusal = "" if result.code == 0 else result.why()
        if refusal:
            # Some lines may have succeeded.
            self._bound = before
            self._bound = self._seen(interface) & _addresses(self._config)
        if refusal and refusal != self._unbound:
            log.warning("bind", reason=refusal)
        if (self._bound, refusal) != (before, self._unbound):
            self._changed()
        self._unbound = refusal

    def _reconcile_locked(self) -> None:
        with self._lock:
            self._reconcile()

    def _look_again(self) -> None:
        """Undoes changes of others to the interface, if :mod:`mesh.agent.repairs` allows it."""
        with self._lock:
            if self._config is None:
                return
            interface = self._config.interface
            read = shown_on(self._host, interface)
            if read is None:
                # Its unit brings it back; the addresses are bound again then.
                if self._bound:
                    self._bound = frozenset()
                    self._changed()
                return
            actual, wanted = read & _addresses(self._config), self._wanted()
            # An address in the wanted state counts as ours, whoever changed it.
            self._bound = (self._bound | (actual & wanted)) - (self._bound - actual - wanted)
            found = [(address, "is missing") for address in self._bound - actual]
            found += [
                (address, "is bound, and not by the agent") for address in actual - self._bound
            ]
            for address, why in sorted(found):
                what = f"address {address} on {interface}"
                # Always, except on hold: traffic to an announced address would be lost.
                if self._repairs.allows(what, why, always=True):
                    self._repairs.record(what, why)
                    self._bound ^= {address}
            self._missing = self._bound - actual
            self._reconcile()

    def _seen(self, interface: str) -> frozenset[str]:
        """The bound addresses; those of the last look if they cannot be listed."""
        try:
            return addresses_on(self._host, interface)
        except CommandFailed as error:
            log.warning("presence", reason=error)
            return self._bound

    # --- the announcement --------------------------------------------------------------------

    def _announce(self) -> None:
        with self._lock:
            config, retired, sequence = self._config, self._retired, self._drain_sequence
            up = frozenset(name for name, local in self._locals.items() if self._is_here(local))
        if config is None:
            return
        # A start of BIRD resets the file, so the file shows whether BIRD has the state.
        written, now = written_state(self._host), time.monotonic()
        if sequence is not None and not retired:
            wanted = sequence.state(now, self._running.in_service and written.in_service)
        else:
            # With a local instance, or a retired network, routes do not matter.
            routes = Routes(frozenset()) if up or retired else self._routes()
            before = self._state.in_service
            wanted = AnnounceState(not retired and in_service(config, up, routes, before))
        if not (wanted == self._state == written and self._is_known(wanted, now)):
            self._configure(wanted, written, now)
        if sequence is not None and self._is_in_force(wanted):
            self._finish_drain(sequence, wanted, now)

    def _is_here(self, local: LocalService) -> bool:
        """Whether a service is up here, and its address is bound."""
        addresses = local.addresses
        return local.up and (not addresses or bool(addresses & (self._bound - self._missing)))

    def _shows(self) -> bool:
        """Whether all checks have a verdict, and BIRD runs with the state in its file."""
        with self._lock:
            watches = [watch for local in self._locals.values() for watch in local.watches]
            if self._config is None:
                return False
            judged = all(watch.judged for watch in watches)
        if not judged and time.monotonic() - self._born < STEADY:
            return False
        return written_state(self._host) == self._state == self._running and self._bird_is == "here"

    def _is_known(self, state: AnnounceState, now: float) -> bool:
        """Whether BIRD runs with this state. BIRD is queried every RECONCILE: it may have undone a
        configuration, or refused one of an earlier agent."""
        if now - self._asked >= RECONCILE:
            self._ask(now)
        return self._is_in_force(state)

    def _is_in_force(self, state: AnnounceState) -> bool:
        """The same by BIRD's last answer. A BIRD that does not run announces nothing."""
        if self._bird_is == "away":
            return not state.in_service
        return self._bird_is == "here" and self._running == state

    def _ask(self, now: float) -> None:
        """Asks BIRD which state it runs with."""
        before = self._running
        try:
            with self._bird.asking(ANSWER) as ask:
                self._running = running_state(ask)
            self._bird_is = "here"
        except NotRunning:
            self._running, self._bird_is = AnnounceState(), "away"
        except BirdError:
            self._bird_is = "silent"
        self._asked = now
        if self._running != before:
            self._changed()

    def _configure(self, state: AnnounceState, written: AnnounceState, now: float) -> None:
        """Writes the state, reconfigures BIRD, and queries the result. If BIRD does not run with
        the state, or is being reconfigured elsewhere, later rounds try again."""
        if state == self._state == written and now - self._tried < RECONCILE:
            return
        # Our `configure` would end an undo timer that runs.
        if not self._bird.changing.acquire(blocking=False):
            return
        refusal = ""
        try:
            self._host.write(file_paths.ANNOUNCE, state.file(), 0o644)
            self._state, self._tried = state, now
            self._bird.configure()
        except NotRunning:
            pass  # It reads the file when it starts.
        except BirdError as error:
            refusal = str(error)
        finally:
            self._bird.changing.release()
        self._ask(time.monotonic())
        self._log_state(state, refusal)

    def _log_state(self, state: AnnounceState, refusal: str) -> None:
        """Logs, and reports, whether BIRD runs with a state."""
        values = {"in_service": state.in_service, "draining": state.draining}
        if self._is_in_force(state):
            refusal = ""
            log.info("announce", **values)
        elif self._bird_is == "here":
            refusal = refusal or "bird: has read it, and runs with another state"
        if refusal and refusal != self._refusal:
            log.warning("announce", **values, reason=refusal)
        if refusal != self._refusal:
            self._refusal = refusal
            self._changed()

    def _finish_drain(self, sequence: DrainSequence, state: AnnounceState, now: float) -> None:
        """Unbinds the service addresses once LINGER has passed since the withdrawal."""
        with self._lock:
            sequence.record(state, now)
            if sequence.done or not sequence.is_over(now) or sequence is not self._drain_sequence:
                return
            sequence.done = True
            self._reconcile()
        log.info("drained")
        self._changed()

    def _routes(self) -> Routes:
        found: set[str] = set()
        for family in ("-4", "-6"):
            # A failed command does not mean that there are no routes.
            shown = self._host.must("ip", "-json", family, "route", "show", "table", "main")
            found |= Routes.parsed(shown).addresses
        return Routes(frozenset(found))


def _problem(check: Check) -> str:
    """A check's problem; an error in the check itself is one too."""
    try:
        return check.problem()
    except Exception as error:
        return printable(f"the check itself fails: {type(error).__name__}: {error}")


def _adopted(service: NodeService, bound: frozenset[str]) -> LocalService:
    up = bool(service.addresses) and all(str(a) in bound for a in service.addresses)
    return LocalService(service, [CheckState(check, up) for check in service.checks])


def _addresses(config: Config) -> frozenset[str]:
    return frozenset(str(a) for service in config.services for a in service.addresses)


def _by_tunnel(route: dict[str, object]) -> bool:
    """Whether one of a route's next hops is a tunnel: only our host routes have one."""
    hops = route.get("nexthops")
    devices = [hop.get("dev") for hop in hops] if isinstance(hops, list) else [route.get("dev")]
    return any(str(device).startswith("wg-") for device in devices)
