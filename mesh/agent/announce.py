"""Presence: which service addresses are bound here, and whether this node announces.

Binding an address *is* originating it into iBGP; the announcement of the aggregates to the
Internet hangs on one state in a file that BIRD includes.

    checks ──► up? ──► bound on dummy0 ──► iBGP
                          │
              reachable instance? ──► IN_SERVICE ──► upstreams

A node that drains leaves in steps, so that whoever sends to it finds another way before this one
ends: it says that it is about to go, withdraws, and lets go of its service addresses last.
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
"""Seconds between two looks at the interface itself, unless the kernel tells of a change."""
RECONCILE = 2.0
"""Seconds between two looks at what BIRD runs by, and until it is told again what it has not
taken, or an address is bound again that could not be."""
SHUTDOWN = 5.0
"""Seconds for which a node that drains still announces, as one that is about to go (RFC 8326)."""
STEADY = 20.0
"""Seconds after which checks need not have judged for the agent to have shown that it works: some
take minutes to fall. One that fails as a whole does not live for so long."""
ANSWER = 2.0
"""Seconds that BIRD has to say what it runs by."""
LINGER = 2.0
"""Seconds for which it still answers once it has withdrawn: packets are on their way."""


@dataclass(frozen=True, slots=True)
class AnnounceState:
    """What BIRD is told: whether this node is in service, and whether it drains, that is, whether
    what it announces is about to go and what it serves is no peer's any more."""

    in_service: bool = False
    draining: bool = False

    def file(self) -> bytes:
        """As BIRD reads it."""
        values = (("IN_SERVICE", self.in_service), ("DRAINING", self.draining))
        return "".join(
            f"define {name} = {'true' if value else 'false'};\n" for name, value in values
        ).encode()


def written_state(host: Host) -> AnnounceState:
    """What BIRD's file says; nothing is the state where there is no file."""
    text = host.read(file_paths.ANNOUNCE) or b""
    return AnnounceState(b"IN_SERVICE = true;" in text, b"DRAINING = true;" in text)


def running_state(ask: Ask) -> AnnounceState:
    """The state that BIRD runs by, whatever its file says."""
    return AnnounceState(constant(ask, "IN_SERVICE"), constant(ask, "DRAINING"))


@dataclass(slots=True)
class DrainSequence:
    """The steps of a node that drains, and when BIRD was told of each (monotonic seconds).

    What it announces is marked for graceful shutdown for a while, then withdrawn; ``done`` is set
    after another while, and its service addresses go then.
    """

    leaving: float | None = None
    gone: float | None = None
    done: bool = False

    def state(self, now: float, announcing: bool) -> AnnounceState:
        """What BIRD should be told now. Who announces nothing has nobody to warn."""
        warned = self.leaving is not None and now - self.leaving >= SHUTDOWN
        return AnnounceState(announcing and not warned, draining=True)

    def record(self, state: AnnounceState, now: float) -> None:
        """BIRD knows this state."""
        if state.in_service:
            self.leaving = now if self.leaving is None else self.leaving
        else:
            self.gone = now if self.gone is None else self.gone

    def is_over(self, now: float) -> bool:
        """Whether nothing is on its way to us any more."""
        return self.gone is not None and now - self.gone >= LINGER


@dataclass(slots=True)
class CheckState:
    """Rise and fall of one check."""

    check: Check
    up: bool = False
    streak: int = 0
    reason: str = "was not asked yet"
    """Why the last answer that was not good was not."""
    asked: bool = False

    @property
    def judged(self) -> bool:
        """Whether its state is by answers of its own, and no last ones speak against its being up:
        one that was adopted as up, and fails now, is judged once it is down."""
        return self.asked and not (self.up and self.streak)

    def record(self, healthy: bool) -> bool:
        """Takes one answer; whether the check is up after it."""
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
        """All checks pass; a service without checks is up."""
        return all(watch.up for watch in self.watches)

    @property
    def addresses(self) -> frozenset[str]:
        """Its addresses."""
        return frozenset(str(address) for address in self.service.addresses)

    @property
    def failure(self) -> str:
        """Why it is down: its checks that do not pass, each with the reason. Empty where it is
        up."""
        return "; ".join(
            f"{watch.check.subject}: {watch.reason}" for watch in self.watches if not watch.up
        )


@dataclass(frozen=True, slots=True)
class Routes:
    """Host routes of the kernel that leave by a tunnel."""

    addresses: frozenset[str]

    @staticmethod
    def parsed(text: str) -> Routes:
        """From ``ip -json route show``."""
        found = (route for route in json.loads(text or "[]") if _by_tunnel(route))
        return Routes(frozenset(str(route["dst"]).split("/")[0] for route in found))


def in_service(config: Config, up: frozenset[str], routes: Routes, before: bool) -> bool:
    """Whether a node announces the aggregates.

    Yes while some service has a healthy instance that can be reached: here, or over a tunnel. A
    plan without services counts its peers instead. The floor: where no instance is to be reached
    although peers are, the service is down everywhere, and withdrawing everywhere would help
    nobody; so who announces goes on.
    """
    mates = any(str(mate) in routes.addresses for mate in config.mates)
    if not config.services:
        return mates or (before and not config.mates)
    reachable = bool(up) or any(
        str(address) in routes.addresses
        for service in config.services
        for address in service.addresses
    )
    return reachable or (before and mates)


class Announcer:
    """Keeps one node's bindings and announcement in line with its checks."""

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
        """What somebody has unbound while nothing is put right."""
        self._unbound = ""
        """Why the interface is not as it should be, by the last try."""
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
        """What a round has failed of, and why."""
        self.works = False
        """Whether it has shown that it works: all checks were asked and have judged, or it has run
        for a while, BIRD knows its state and has answered, and nothing has failed."""
        self.beat = time.monotonic()
        """When the loop last came by and nothing failed; the watchdog looks at it."""

    # --- what others call --------------------------------------------------------------------

    def watch(self, config: Config) -> None:
        """Watches these services from now on. What is bound already counts as up until its
        checks say otherwise: a restart of the agent moves no traffic."""
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
        """Somebody may have changed the interface."""
        self._looked = -math.inf
        self._wake.set()

    def retire(self) -> None:
        """Withdraws and unbinds, whatever checks and floor say; the network is taken down."""
        with self._lock:
            self._retired = True
        self._wake.set()

    def drain(self, wanted: bool) -> None:
        """Drains the node, or brings it back; the operator's state, so the floor is not asked."""
        with self._lock:
            if wanted == (self._drain_sequence is not None):
                return
            self._drain_sequence = DrainSequence() if wanted else None
            self._reconcile()
        log.info("drain", wanted=wanted)
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Looks after the announcement until told to stop."""
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
        """Why services that this node may serve are down, by the checks' own words."""
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
        """What keeps bindings and announcement from being what they should be."""
        told = not self._refusal or self._is_in_force(self._state)
        found = {} if told else {"announce": self._refusal}
        if failing := "; ".join(self._failing.copy().values()):
            found["presence"] = failing
        return found

    @property
    def announcing(self) -> bool:
        """Whether BIRD runs by the state that this node is in service; as it said last, where it
        does not answer."""
        return self._running.in_service

    @property
    def gone(self) -> bool:
        """Whether the node has withdrawn and serves nothing, because the network is taken down."""
        withdrawn = not self._state.in_service and self._is_in_force(self._state)
        return self._retired and withdrawn and not self._bound

    @property
    def drained(self) -> bool:
        """Whether the node has withdrawn and serves nothing, because it was told to drain."""
        return self._is_off and not self._bound

    @property
    def _is_off(self) -> bool:
        sequence = self._drain_sequence
        return sequence is not None and sequence.done

    # --- the loop ----------------------------------------------------------------------------

    def _round(self) -> None:
        """One look at everything. A round of which something has failed is no sign of life, and
        the rest of it is done all the same."""
        began = time.monotonic()
        if began - self._looked >= (RECONCILE if self._unbound else INTERFACE):
            self._looked = began
            self._step("interface", self._look_again)
        self._step("announcement", self._announce)
        if self._retired:
            # Upstreams are told first: whoever still comes finds the service.
            self._step("retirement", self._let_go)
        if not self._failing:
            self.works = self.works or self._shows()
            self.beat = time.monotonic()

    def _step(self, name: str, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            # Whatever it is: what else the node does has to go on.
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
        # Who drains takes on nothing new.
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
            # Some of it may be done.
            self._bound = before
            self._bound = self._seen(interface) & _addresses(self._config)
        if refusal and refusal != self._unbound:
            log.warning("bind", reason=refusal)
        if (self._bound, refusal) != (before, self._unbound):
            self._changed()
        self._unbound = refusal

    def _let_go(self) -> None:
        with self._lock:
            self._reconcile()

    def _look_again(self) -> None:
        """What somebody else did to the interface is put right, as far as that is put right at all
        (:mod:`mesh.agent.repairs`)."""
        with self._lock:
            if self._config is None:
                return
            interface = self._config.interface
            read = shown_on(self._host, interface)
            if read is None:
                # It comes back with its unit, and then this binds again.
                if self._bound:
                    self._bound = frozenset()
                    self._changed()
                return
            actual, wanted = read & _addresses(self._config), self._wanted()
            # What is as it should be is so, whoever has done it.
            self._bound = (self._bound | (actual & wanted)) - (self._bound - actual - wanted)
            found = [(address, "is missing") for address in self._bound - actual]
            found += [
                (address, "is bound, and not by the agent") for address in actual - self._bound
            ]
            for address, why in sorted(found):
                what = f"address {address} on {interface}"
                # Never left alone, but for a hold: what is announced would lead nowhere.
                if self._repairs.allows(what, why, always=True):
                    self._repairs.record(what, why)
                    self._bound ^= {address}
            self._missing = self._bound - actual
            self._reconcile()

    def _seen(self, interface: str) -> frozenset[str]:
        """What is bound; where that cannot be seen, what was seen last: the next look is soon."""
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
        # BIRD resets the file when it starts, so the file is what says whether it knows.
        written, now = written_state(self._host), time.monotonic()
        if sequence is not None and not retired:
            wanted = sequence.state(now, self._running.in_service and written.in_service)
        else:
            # With an instance here there is no need to look at routes, nor for who goes anyway.
            routes = Routes(frozenset()) if up or retired else self._routes()
            before = self._state.in_service
            wanted = AnnounceState(not retired and in_service(config, up, routes, before))
        if not (wanted == self._state == written and self._is_known(wanted, now)):
            self._configure(wanted, written, now)
        if sequence is not None and self._is_in_force(wanted):
            self._finish_drain(sequence, wanted, now)

    def _is_here(self, local: LocalService) -> bool:
        """Whether a service works here, and can be reached."""
        addresses = local.addresses
        return local.up and (not addresses or bool(addresses & (self._bound - self._missing)))

    def _shows(self) -> bool:
        """Whether what it does is by what it has seen itself, and BIRD follows."""
        with self._lock:
            watches = [watch for local in self._locals.values() for watch in local.watches]
            if self._config is None:
                return False
            judged = all(watch.judged for watch in watches)
        if not judged and time.monotonic() - self._born < STEADY:
            return False
        return written_state(self._host) == self._state == self._running and self._bird_is == "here"

    def _is_known(self, state: AnnounceState, now: float) -> bool:
        """Whether BIRD runs by this state. It is asked from time to time: it may have gone back to
        an earlier configuration, and an agent before this one may have told it in vain."""
        if now - self._asked >= RECONCILE:
            self._ask(now)
        return self._is_in_force(state)

    def _is_in_force(self, state: AnnounceState) -> bool:
        """The same, by BIRD's last answer. A BIRD that does not run announces nothing."""
        if self._bird_is == "away":
            return not state.in_service
        return self._bird_is == "here" and self._running == state

    def _ask(self, now: float) -> None:
        """Asks BIRD which state it runs by."""
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
        """Tells BIRD, and asks what it has made of it. Where it has not taken the state, or must
        not be disturbed, the next looks tell it again."""
        if state == self._state == written and now - self._tried < RECONCILE:
            return
        # An undo timer that is running would be ended by our `configure`.
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
        """Says in the log, and in the next report, whether BIRD has taken a state."""
        values = {"in_service": state.in_service, "draining": state.draining}
        if self._is_in_force(state):
            refusal = ""
            log.info("announce", **values)
        elif self._bird_is == "here":
            refusal = refusal or "bird: has read it, and runs by another state"
        if refusal and refusal != self._refusal:
            log.warning("announce", **values, reason=refusal)
        if refusal != self._refusal:
            self._refusal = refusal
            self._changed()

    def _finish_drain(self, sequence: DrainSequence, state: AnnounceState, now: float) -> None:
        """Lets go of the service addresses once BIRD has been told and nobody comes any more."""
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
            # One that cannot be asked has not said that there are none.
            shown = self._host.must("ip", "-json", family, "route", "show", "table", "main")
            found |= Routes.parsed(shown).addresses
        return Routes(frozenset(found))


def _problem(check: Check) -> str:
    """What a check says; one that cannot even ask has seen no service work."""
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
    """One next hop or several: all of ours are tunnels, and only host routes are."""
    hops = route.get("nexthops")
    devices = [hop.get("dev") for hop in hops] if isinstance(hops, list) else [route.get("dev")]
    return any(str(device).startswith("wg-") for device in devices)
