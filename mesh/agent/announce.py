"""Which service addresses are bound on this node, and whether it announces the aggregates.

BIRD originates a bound address into iBGP. It announces the aggregates to the upstreams by the state
in a file that it includes.

    checks ──► up, by family? ──► bound on dummy0 ──► iBGP
                                     │
                         reachable instance? ──► IN_SERVICE ──► upstreams

The addresses are on ``lo`` as well, always: while one is not on dummy0, packets for it go to
another node's instance, or to the daemon here where BIRD knows of none. (That is Debian's way;
:mod:`mesh.agent.openbsd.network` has OpenBSD's.)

A node drains in steps, so that traffic moves to other paths before this one ends: it marks its
routes for graceful shutdown, withdraws, and unbinds its service addresses last. It does so by the
operator's order, and by itself before an update that restarts its sessions; it is drained while
either wants it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Literal

from mesh.agent import log
from mesh.agent.announce_state import AnnounceState, DrainSequence, Network, longest
from mesh.agent.bird_state import BirdState
from mesh.agent.check_runner import CheckRunner
from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.agent.network import Network as NodeNetwork
from mesh.agent.reachability import Routes, in_service, withheld
from mesh.agent.repairs import Repairs
from mesh.agent.service_addresses import ServiceAddresses
from mesh.agent.service_state import CheckState, LocalService
from mesh.agent.workers import Workers
from mesh.bird.client import Bird
from mesh.foreign import printable
from mesh.trust.documents import MAX_ERROR, MAX_FAILURES, MAX_WITHHELD

TICK = 0.25
"""Seconds between two looks at routes and at BIRD's file."""
STEADY = 20.0
"""Seconds after which the agent counts as working although not all checks have a verdict: some take
minutes. A broken agent does not run for that long."""

CATCH_UP = 15.0
"""Seconds for which a node that starts and announces nothing yet waits for what is in force now: it
may have been off for longer, and what it has on its disk may have been withdrawn meanwhile. One
that reaches no registry announces that after so long."""


DrainReason = Literal["order", "update"]
"""Why a node drains: by the operator's order, or for an update of its own."""
_FAMILY: dict[int, Literal["ipv4", "ipv6"]] = {4: "ipv4", 6: "ipv6"}


class Announcer:
    """Binds service addresses and announces by the checks of one node. ``is_behind`` returns
    whether the node may have yet to apply what is in force elsewhere, ``is_left_out`` whether the
    network no longer names it."""

    def __init__(
        self,
        host: Host,
        bird: Bird,
        network: NodeNetwork,
        changed: Callable[[], None],
        workers: Workers,
        repairs: Repairs | None = None,
        is_behind: Callable[[], bool] = lambda: False,
        is_left_out: Callable[[], bool] = lambda: False,
    ) -> None:
        self._network, self._is_behind, self._is_left_out = network, is_behind, is_left_out
        self._changed, self._workers = changed, workers
        self._addresses = ServiceAddresses(network, repairs or Repairs(), changed)
        self._bird = BirdState(host, bird, changed)
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._config: Config | None = None
        self._locals: dict[str, LocalService] = {}
        self._generation = 0
        self._retired = False
        self._drain_reasons: frozenset[DrainReason] = frozenset()
        self._drain_sequence: DrainSequence | None = None
        """The drain for all reasons together; None without a reason."""
        self._before_update: AnnounceState | None = None
        """The state before a drain that only an update wanted."""
        self._born = time.monotonic()
        self._looked = -math.inf
        self._rounds = 0
        self._withheld: dict[Network, str] = {}
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
            self._retired = False
            self._config = config
            self._bird.watch(config.apart)
            self._withheld = {}
            self._begin(config)
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

    def drain(self, wanted: bool, reason: DrainReason = "order") -> None:
        """Drains the node, or ends that, for one of the reasons. The floor does not count."""
        with self._lock:
            if wanted == (reason in self._drain_reasons):
                return
            self._drain_reasons ^= {reason}
            if wanted:
                alone = self._drain_reasons == {"update"}
                self._before_update = self._bird.wanted if alone else None
            if not self._drain_reasons:
                self._drain_sequence = None
            elif self._drain_sequence is None:
                self._drain_sequence = DrainSequence()
            self._reconcile()
        log.info("drain", wanted=wanted, reason=reason)
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
            serving = not self._retired and not self.withdrawn
            return {name: serving and local.up for name, local in self._locals.items()}

    def families(self) -> dict[str, dict[Literal["ipv4", "ipv6"], bool]]:
        """The same by address family."""
        with self._lock:
            serving = not self._retired and not self.withdrawn
            found = {name: self._locals[name].families for name in sorted(self._locals)}
        return {
            name: {_FAMILY[version]: serving and up for version, up in families.items()}
            for name, families in list(found.items())[:MAX_FAILURES]
        }

    def checks(self) -> tuple[tuple[str, CheckState], ...]:
        """The checks that have been asked, each with the name of its service."""
        with self._lock:
            return tuple(
                (name, watch)
                for name, local in sorted(self._locals.items())
                for watch in local.watches
                if watch.asked
            )

    def warnings(self) -> dict[str, str]:
        """What the checks of services warn of."""
        with self._lock:
            found = {name: local.warning for name, local in sorted(self._locals.items())}
        return _short(found)

    def failures(self) -> dict[str, str]:
        """Why services that this node may serve are down."""
        with self._lock:
            found = {
                name: local.failure or self._not_bound(local)
                for name, local in self._locals.items()
            }
        return _short(found)

    def _not_bound(self, local: LocalService) -> str:
        if missing := sorted(local.addresses & self._addresses.missing):
            return f"{', '.join(missing)} was taken from this node, which is held"
        return "" if local.addresses <= self._addresses.bound else self._addresses.failure

    @property
    def faults(self) -> dict[str, str]:
        """Why bindings or announcement are not in the wanted state."""
        refusal = self._bird.fault
        found = {"announce": refusal} if refusal else {}
        if failing := "; ".join(self._failing.copy().values()):
            found["presence"] = failing
        return found

    def withheld(self) -> dict[str, str]:
        """The prefixes, of those that come and go each by itself, for which the node is not in
        service, with reasons."""
        found = sorted(self._withheld.items(), key=lambda item: str(item[0]))
        return {str(prefix): why[:MAX_ERROR] for prefix, why in found[:MAX_WITHHELD]}

    @property
    def announcing(self) -> bool:
        """Whether BIRD runs with this node in service, by its last answer."""
        return self._bird.running.in_service

    @property
    def begins(self) -> bool:
        """Whether the node has just started, and announces nothing yet. A restart of the agent
        alone is none: the node goes on announcing."""
        return time.monotonic() - self._born < CATCH_UP and not self._bird.wanted.in_service

    @property
    def gone(self) -> bool:
        """Whether the node has withdrawn and serves nothing because the network is taken down."""
        wanted = self._bird.wanted
        withdrawn = not wanted.in_service and self._bird.is_in_force(wanted)
        return self._retired and withdrawn and not self._addresses.bound

    @property
    def drained(self) -> bool:
        """Whether the node has withdrawn and serves nothing because of a drain order."""
        return "order" in self._drain_reasons and self.withdrawn

    @property
    def withdrawn(self) -> bool:
        """Whether the node has drained, for whatever reason: it has withdrawn and serves
        nothing."""
        return self._is_off and not self._addresses.bound

    @property
    def drain_seconds(self) -> float:
        """Seconds that a drain takes at most, beside BIRD's own time."""
        with self._lock:
            return longest(None if self._config is None else self._config.linger)

    @property
    def _is_off(self) -> bool:
        sequence = self._drain_sequence
        return sequence is not None and sequence.done

    # --- the loop ----------------------------------------------------------------------------

    def _round(self) -> None:
        """One round. After a failed step the others still run, and the watchdog gets no beat."""
        began = time.monotonic()
        if began - self._looked >= self._addresses.look_every:
            self._looked = began
            self._step("interface", self._look_again)
        self._step("announcement", self._announce)
        if self._retired:
            # After the withdrawal: packets that still arrive are served.
            self._step("retirement", self._reconcile_locked)
        self._rounds += 1
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

    def _begin(self, config: Config) -> None:
        """Starts the checks; those that run end."""
        bound, askable = self._addresses.watch(config), self._addresses.askable()
        if self._is_off:
            # Unbound by the drain, and not because their checks fail.
            bound |= self._up()
        self._generation += 1
        self._locals = {
            service.name: LocalService.adopted(service, config.node, bound, askable)
            for service in config.services
            if service.local
        }
        self._reconcile()
        for local in self._locals.values():
            for watch in local.watches:
                self._start(local, watch)

    def _start(self, local: LocalService, watch: CheckState) -> None:
        generation = self._generation

        def gone() -> bool:
            return self._generation != generation

        def answered(problem: str) -> bool:
            watch.problem, watch.seconds = problem, runner.seconds
            with self._lock:
                return not gone() and self._record(local, watch, problem)

        def warned(warning: str) -> None:
            if warning != watch.warning:
                watch.warning = warning
                self._changed()

        runner = CheckRunner(watch.check, watch.target, answered, gone, warned)
        self._workers.start(f"check {local.service.name}", runner.run, lasting=False)

    def _record(self, local: LocalService, watch: CheckState, problem: str) -> bool:
        """Records an answer, and binds or unbinds by it; whether another is needed for that."""
        was = local.families
        watch.record(not problem)
        watch.reason = problem or watch.reason
        changed = [version for version, up in local.families.items() if up != was[version]]
        if changed:
            # First of all: clients wait for it.
            self._reconcile()
            self._wake.set()
            self._changed()
        for version in changed:
            log.info(
                "service",
                name=local.service.name,
                family=_FAMILY[version],
                up=local.serves(version),
                reason=local.why_down(version),
            )
        return watch.streak > 0

    def _wanted(self) -> frozenset[str]:
        if self._retired or self._is_off:
            return frozenset()
        up = self._up()
        # A draining node binds no new address.
        return up if self._drain_sequence is None else up & self._addresses.bound

    def _up(self) -> frozenset[str]:
        """The addresses of the services and families that are up."""
        return frozenset[str]().union(*(local.addresses for local in self._locals.values()))

    def _reconcile(self) -> None:
        self._addresses.bind(self._wanted())

    def _reconcile_locked(self) -> None:
        with self._lock:
            self._reconcile()

    def _look_again(self) -> None:
        """Undoes changes of others to the interface."""
        with self._lock:
            if self._addresses.look(self._wanted()):
                # A draining node wants no address that it has lost.
                self._reconcile()
            if self._config is not None and self._addresses.has_more_askable():
                self._begin(self._config)

    # --- the announcement --------------------------------------------------------------------

    def _announce(self) -> None:
        with self._lock:
            config, retired, sequence = self._config, self._retired, self._drain_sequence
            here = self._up() & self._addresses.present
        if config is None:
            return
        if not retired and self._has_no_network(config):
            log.warning(
                "left-out", reason="the network has no such node, and no peer speaks with it"
            )
            self.retire()
            retired = True
        # A start of BIRD resets the file, so the file shows whether BIRD has the state.
        written, now = self._bird.written(), time.monotonic()
        if written != self._bird.wanted:
            # Where BIRD also has a file of what is served, its start has reset that too.
            self._looked = -math.inf
        if sequence is not None and not retired:
            if not sequence.has_begun:
                # The last answer may be older than an announcement that BIRD had queued.
                self._bird.ask(now)
            announcing = self._bird.running.in_service and written.in_service
            wanted = sequence.state(now, announcing, written.prefixes)
        elif retired or (self.begins and self._is_behind()):
            wanted = self._at_once(config, False)
        elif config.announced:
            wanted = self._by_prefix(config, here, now)
        else:
            wanted = self._at_once(config, self._serves(config, here, now))
        self._bird.set(wanted, written, now)
        if sequence is not None and self._bird.is_in_force(wanted):
            self._finish_drain(sequence, wanted, now, config.linger)

    def _has_no_network(self, config: Config) -> bool:
        """Whether the network no longer names this node, and no peer speaks with it: it was off
        when it was removed, and what it would announce may be months old. While an update goes on,
        peers that are yet to apply it speak with the node, which announces until others do."""
        if not self._is_left_out() or not config.mates:
            return False
        return not self._routes().has_peer(config)

    def _at_once(self, config: Config, serves: bool) -> AnnounceState:
        """The state of a node that announces all its prefixes or nothing."""
        return AnnounceState(serves, prefixes=tuple((prefix, False) for prefix in config.apart))

    @property
    def _last_state(self) -> AnnounceState:
        """The state that a floor keeps: after the drain of an update that before it."""
        last, before = self._bird.wanted, self._before_update
        return before if last.draining and before is not None else last

    def _serves(self, config: Config, here: frozenset[str], now: float) -> bool:
        """Whether a node that announces all or nothing is in service. Where all is here, routes do
        not matter."""
        before, settled = self._last_state.in_service, now - self._born >= STEADY
        return in_service(config, here, Routes(frozenset()), before, settled) or in_service(
            config, here, self._routes(), before, settled
        )

    def _routes(self) -> Routes:
        return Routes.shown(self._network, self._bird.hears_others)

    def _by_prefix(self, config: Config, here: frozenset[str], now: float) -> AnnounceState:
        """The state of a node whose prefixes come and go each by itself: in service while it is for
        any of them."""
        before, settled = self._last_state.serving, now - self._born >= STEADY
        found = withheld(config, here, Routes(frozenset()), before, settled)
        if found:
            found = withheld(config, here, self._routes(), before, settled)
        if found != self._withheld:
            self._withheld = found
            self._changed()
        prefixes = tuple((prefix, prefix not in found) for prefix in config.apart)
        return AnnounceState(any(serves for _, serves in prefixes), prefixes=prefixes)

    @property
    def begins_well(self) -> bool:
        """Whether the loop runs, and a BIRD that runs has the state in its file. The checks may not
        have a verdict yet."""
        shown = self._config is None or self._bird.is_shown or self._bird.is_away
        return self._rounds > 0 and not self._failing and shown

    def _shows(self) -> bool:
        """Whether all checks have a verdict, and BIRD runs with the state in its file."""
        with self._lock:
            watches = [watch for local in self._locals.values() for watch in local.watches]
            if self._config is None:
                return False
            judged = all(watch.judged for watch in watches)
        if not judged and time.monotonic() - self._born < STEADY:
            return False
        return self._bird.is_shown

    def _finish_drain(
        self, sequence: DrainSequence, state: AnnounceState, now: float, linger: float | None
    ) -> None:
        """Unbinds the service addresses once it has lingered after the withdrawal."""
        with self._lock:
            sequence.record(state, now)
            if (
                sequence.done
                or not sequence.is_over(now, linger)
                or sequence is not self._drain_sequence
            ):
                return
            sequence.done = True
            self._reconcile()
        log.info("drained")
        self._changed()


def _short(texts: dict[str, str]) -> dict[str, str]:
    """Texts for a report, by name: those that are not empty."""
    return {
        name: printable(text)[:MAX_ERROR]
        for name, text in sorted(texts.items())[:MAX_FAILURES]
        if text
    }
