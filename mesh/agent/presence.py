"""Presence: which service addresses are bound here, and whether this node announces.

Binding an address *is* originating it into iBGP; the announcement of the aggregates to the
Internet hangs on one word in a file that BIRD includes.

    checks ──► up? ──► bound on dummy0 ──► iBGP
                          │
              reachable instance? ──► IN_SERVICE ──► upstreams

A node that drains leaves in steps, so that whoever sends to it finds another way before this one
ends: it says that it is about to go, withdraws, and lets go of its service addresses last.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mesh.agent import blackholes, log, places
from mesh.agent.bird import Bird, BirdError
from mesh.agent.checks import KINDS, Healthcheck
from mesh.agent.config import Check, Config, Service
from mesh.agent.host import Host
from mesh.discovery.client import one_line
from mesh.trust.documents import MAX_FAILURES, MAX_WORDS

TICK = 0.25
"""Seconds between two looks at routes and at BIRD's file."""
RECONCILE = 2.0
"""Seconds between two looks at the interface itself."""
SHUTDOWN = 5.0
"""Seconds for which a node that drains still announces, as one that is about to go (RFC 8326)."""
LINGER = 2.0
"""Seconds for which it still answers once it has withdrawn: packets are on their way."""


@dataclass(frozen=True, slots=True)
class Word:
    """What BIRD is told: whether this node is in service, and whether it drains, that is, whether
    what it announces is about to go and what it serves is no mate's any more."""

    in_service: bool = False
    draining: bool = False

    def file(self) -> bytes:
        """As BIRD reads it."""
        values = (("IN_SERVICE", self.in_service), ("DRAINING", self.draining))
        return "".join(
            f"define {name} = {'true' if value else 'false'};\n" for name, value in values
        ).encode()


def said(host: Host) -> Word:
    """What BIRD's file says; nothing is the word where there is no file."""
    text = host.read(places.ANNOUNCE) or b""
    return Word(b"IN_SERVICE = true;" in text, b"DRAINING = true;" in text)


@dataclass(slots=True)
class Farewell:
    """The steps of a node that drains, and when BIRD was told of each (monotonic seconds).

    What it announces is marked for graceful shutdown for a while, then withdrawn; ``done`` is set
    after another while, and its service addresses go then.
    """

    leaving: float | None = None
    gone: float | None = None
    done: bool = False

    def word(self, now: float, announcing: bool) -> Word:
        """What BIRD should be told now. Who announces nothing has nobody to warn."""
        warned = self.leaving is not None and now - self.leaving >= SHUTDOWN
        return Word(announcing and not warned, draining=True)

    def told(self, word: Word, now: float) -> None:
        """BIRD knows this word."""
        if word.in_service:
            self.leaving = now if self.leaving is None else self.leaving
        else:
            self.gone = now if self.gone is None else self.gone

    def over(self, now: float) -> bool:
        """Whether nothing is on its way to us any more."""
        return self.gone is not None and now - self.gone >= LINGER


@dataclass(slots=True)
class Watch:
    """Rise and fall of one check."""

    check: Check
    up: bool = False
    streak: int = 0
    reason: str = "was not asked yet"
    """Why the last answer that was not good was not."""

    def record(self, healthy: bool) -> bool:
        """Takes one answer; whether the check is up after it."""
        self.streak = self.streak + 1 if healthy != self.up else 0
        if self.streak >= (self.check.rise if healthy else self.check.fall):
            self.up, self.streak = healthy, 0
        return self.up


@dataclass(slots=True)
class Local:
    """A service that this node may serve, with its checks' states."""

    service: Service
    watches: list[Watch] = field(default_factory=list)

    @property
    def up(self) -> bool:
        """All checks pass; a service without checks is up."""
        return all(watch.up for watch in self.watches)

    @property
    def failure(self) -> str:
        """Why it is down: its checks that do not pass, each with the reason. Empty where it is
        up."""
        return "; ".join(
            f"{watch.check.kind} port {watch.check.port}: {watch.reason}"
            for watch in self.watches
            if not watch.up
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
    plan without services counts its mates instead. The floor: where no instance is to be reached
    although mates are, the service is down everywhere, and withdrawing everywhere would help
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


class Presence:
    """Keeps one node's bindings and announcement in line with its checks."""

    def __init__(self, host: Host, bird: Bird, changed: Callable[[], None]) -> None:
        self._host, self._bird, self._changed = host, bird, changed
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._config: Config | None = None
        self._locals: dict[str, Local] = {}
        self._generation = 0
        self._bound: frozenset[str] = frozenset()
        self._word = said(host)
        self._retired = False
        self._farewell: Farewell | None = None
        self.beat = time.monotonic()
        """When the loop last came by; the watchdog looks at it."""

    # --- what others call --------------------------------------------------------------------

    def watch(self, config: Config) -> None:
        """Watches these services from now on. What is bound already counts as up until its
        checks say otherwise: a restart of the agent moves no traffic."""
        with self._lock:
            old = self._config
            bound = self._read_bound(config.interface)
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
                    self._start(local, watch, KINDS[watch.check.kind](watch.check))
        self._wake.set()

    def retire(self) -> None:
        """Withdraws and unbinds, whatever checks and floor say; the network is taken down."""
        with self._lock:
            self._retired = True
        self._wake.set()

    def drain(self, wanted: bool) -> None:
        """Drains the node, or brings it back; the operator's word, so the floor is not asked."""
        with self._lock:
            if wanted == (self._farewell is not None):
                return
            self._farewell = Farewell() if wanted else None
            self._reconcile()
        log.info("drain", wanted=wanted)
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Looks after the announcement until told to stop."""
        looked = 0.0
        while not stop.is_set():
            self.beat = time.monotonic()
            try:
                if self.beat - looked >= RECONCILE:
                    looked = self.beat
                    self._look_again()
                self._announce()
                if self._retired:
                    # Upstreams are told first: whoever still comes finds the service.
                    with self._lock:
                        self._reconcile()
            except (OSError, ValueError) as error:
                log.warning("presence", reason=error)
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
            found = {name: local.failure for name, local in self._locals.items()}
        return {
            name: one_line(failure)[:MAX_WORDS]
            for name, failure in sorted(found.items())[:MAX_FAILURES]
            if failure
        }

    @property
    def announcing(self) -> bool:
        """Whether BIRD has been told that this node is in service."""
        return self._word.in_service

    @property
    def gone(self) -> bool:
        """Whether the node has withdrawn and serves nothing, because the network is taken down."""
        return self._retired and not self._word.in_service and not self._bound

    @property
    def drained(self) -> bool:
        """Whether the node has withdrawn and serves nothing, because it was told to drain."""
        farewell = self._farewell
        return farewell is not None and farewell.done

    # --- checks and bindings -----------------------------------------------------------------

    def _start(self, local: Local, watch: Watch, check: Healthcheck) -> None:
        generation = self._generation

        def loop() -> None:
            while True:
                began = time.monotonic()
                problem = check.problem()
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

        threading.Thread(target=loop, name=f"check-{local.service.name}", daemon=True).start()

    def _wanted(self) -> frozenset[str]:
        if self._retired or self.drained:
            return frozenset()
        up = frozenset(
            str(address)
            for local in self._locals.values()
            if local.up
            for address in local.service.addresses
        )
        # Who drains takes on nothing new.
        return up if self._farewell is None else up & self._bound

    def _reconcile(self) -> None:
        """Binds and unbinds the difference, in one go."""
        if self._config is None:
            return
        wanted, interface = self._wanted(), self._config.interface
        lines = [_line("replace", a, interface) for a in sorted(wanted - self._bound)]
        lines += [_line("del", a, interface) for a in sorted(self._bound - wanted)]
        if lines:
            result = self._host.run("ip", "-force", "-batch", "-", given="\n".join(lines) + "\n")
            if result.code != 0:
                log.warning("bind", reason=result.why())
            self._bound = wanted
            self._changed()

    def _look_again(self) -> None:
        """What somebody else did to the interface is put right."""
        with self._lock:
            if self._config is None:
                return
            actual = self._read_bound(self._config.interface)
            self._bound = actual & _addresses(self._config)
            self._reconcile()

    def _read_bound(self, interface: str) -> frozenset[str]:
        result = self._host.run("ip", "-json", "address", "show", "dev", interface)
        if result.code != 0:
            return frozenset()
        return frozenset(
            str(address["local"])
            for link in json.loads(result.out or "[]")
            for address in link.get("addr_info", [])
            if "local" in address
        )

    # --- the announcement --------------------------------------------------------------------

    def _announce(self) -> None:
        with self._lock:
            config, retired, farewell = self._config, self._retired, self._farewell
            up = frozenset(name for name, local in self._locals.items() if local.up)
        if config is None:
            return
        # BIRD resets the file when it starts, so the file is what says whether it knows.
        heard, now = said(self._host), time.monotonic()
        if farewell is not None and not retired:
            wanted = farewell.word(now, self._word.in_service and heard.in_service)
        else:
            # With an instance here there is no need to look at routes, nor for who goes anyway.
            routes = Routes(frozenset()) if up or retired else self._routes()
            before = self._word.in_service
            wanted = Word(not retired and in_service(config, up, routes, before))
        if not wanted == self._word == heard and not self._tell(wanted):
            return
        if farewell is not None:
            self._take_leave(farewell, wanted, now)

    def _tell(self, word: Word) -> bool:
        """Tells BIRD; False where that has to wait for the next look."""
        # An undo timer that is running would be ended by our `configure`.
        if not self._bird.changing.acquire(blocking=False):
            return False
        try:
            self._host.write(places.ANNOUNCE, word.file(), 0o644)
            self._bird.configure()
        except BirdError as error:
            # It reads the file when it starts.
            log.warning(
                "announce", in_service=word.in_service, draining=word.draining, reason=error
            )
        finally:
            self._bird.changing.release()
        if word != self._word:
            log.info("announce", in_service=word.in_service, draining=word.draining)
        self._word = word
        self._changed()
        return True

    def _take_leave(self, farewell: Farewell, word: Word, now: float) -> None:
        """Lets go of the service addresses once BIRD has been told and nobody comes any more."""
        with self._lock:
            farewell.told(word, now)
            if farewell.done or not farewell.over(now) or farewell is not self._farewell:
                return
            farewell.done = True
            self._reconcile()
        log.info("drained")
        self._changed()

    def _routes(self) -> Routes:
        found: set[str] = set()
        for family in ("-4", "-6"):
            result = self._host.run("ip", "-json", family, "route", "show", "table", "main")
            if result.code == 0:
                found |= Routes.parsed(result.out).addresses
        return Routes(frozenset(found))


def withdraw(host: Host, bird: Bird, config: Config) -> None:
    """What a node does whose agent has not come back: it serves and announces nothing."""
    lines = [_line("del", address, config.interface) for address in sorted(_addresses(config))]
    if lines:
        host.run("ip", "-force", "-batch", "-", given="\n".join(lines) + "\n")
    host.write(places.ANNOUNCE, Word().file(), 0o644)
    # Nobody is left to see when an order ends. The firewall sees by itself.
    blackholes.forget(host)
    bird.configure()


def _adopted(service: Service, bound: frozenset[str]) -> Local:
    up = bool(service.addresses) and all(str(a) in bound for a in service.addresses)
    return Local(service, [Watch(check, up) for check in service.checks])


def _addresses(config: Config) -> frozenset[str]:
    return frozenset(str(a) for service in config.services for a in service.addresses)


def _line(verb: str, address: str, interface: str) -> str:
    if ":" in address:
        flags = " nodad" if verb == "replace" else ""
        return f"address {verb} {address}/128 dev {interface}{flags}"
    return f"address {verb} {address}/32 dev {interface}"


def _by_tunnel(route: dict[str, object]) -> bool:
    """One next hop or several: all of ours are tunnels, and only host routes are."""
    hops = route.get("nexthops")
    devices = [hop.get("dev") for hop in hops] if isinstance(hops, list) else [route.get("dev")]
    return any(str(device).startswith("wg-") for device in devices)
