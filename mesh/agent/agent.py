"""The agent: joins, applies what the operator signed, repairs changes, and reports.

Threads: one that applies (this one), two per registry (:mod:`registry_client`), one for the
announcement and one per check (:mod:`announce`), one each for blackholes, the routing monitor,
BIRD's log, repairs and the watchdog. A thread that fails is restarted (:mod:`workers`).
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any, Literal

from mesh.agent import disk, file_paths, log
from mesh.agent import facts as own_facts
from mesh.agent.announce import Announcer
from mesh.agent.announce_state import written_state
from mesh.agent.apply import Applier, Content, NotApplied, NotWritten
from mesh.agent.blackholes import Blackholes
from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.config import Config
from mesh.agent.holds import Holds
from mesh.agent.host import CommandFailed, Host
from mesh.agent.keys import own_keys
from mesh.agent.logins import LoginUse
from mesh.agent.planned import PlannedNodes
from mesh.agent.refusals import Refusals, What
from mesh.agent.registry_client import Callbacks, RegistryLink
from mesh.agent.registry_port import RegistryPort
from mesh.agent.rejected_routes import RejectedRoutes
from mesh.agent.repair import InForce, Repair
from mesh.agent.repairs import Repairs
from mesh.agent.routing_monitor import RoutingMonitor
from mesh.agent.seed import Seed
from mesh.agent.sessions import Sessions
from mesh.agent.state import (
    Applied,
    Forged,
    HighestManifest,
    Rejected,
    State,
    stated_number,
    verified,
    verified_order,
    verified_part,
)
from mesh.agent.tunnels import Tunnels
from mesh.agent.units import Units
from mesh.agent.workers import Workers
from mesh.bird.client import Bird
from mesh.foreign import printable
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust import joining, keys, signing
from mesh.trust.documents import (
    CLOCKS_DIFFER,
    LOGIN,
    MAX_ACCESS,
    MAX_CLOCKS,
    MAX_ERROR,
    MAX_FAULTS,
    MAX_NAME,
    MAX_NUMBER,
    MAX_REFUSAL_REASON,
    Health,
    JoinRequest,
    Manifest,
    Part,
    Refusal,
    Report,
    Unconfirmed,
)
from mesh.trust.encoding import Malformed, b64, moment, parse
from mesh.trust.orders import BLACKHOLE, DRAIN, HOLD, Kind
from mesh.trust.requests import Signer
from mesh.trust.sealing import NotForUs, unseal
from mesh.trust.signing import BadSignature, Purpose, Signed

FACTS_AGE = 1.0
"""Seconds for which the facts are cached."""
HEALTH_EVERY = (0.4, 2.0)
"""Seconds between two polls of the sessions for the report: while one is down, and otherwise."""
HEARTBEAT = 30.0
"""Seconds after which a report is sent although nothing has changed."""
FULL_DISK = 30.0
"""Seconds until a failed write is tried again."""
COMPLAINTS = 60.0
"""Seconds until the log repeats that a registry offers what is refused."""


NO_NONCE = b64(bytes(32))
"""The nonce of a report without a manifest that could be read."""

Outcome = Literal["applied", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class GenerationOutcome:
    """The outcome of a generation in a report."""

    generation: int
    manifest_sha256: str
    nonce: str
    outcome: Outcome
    reason: str


class Agent:
    """One node's agent; it runs until ``stop`` is set."""

    def __init__(
        self, host: Host, seed: Seed, manager: Units, stop: threading.Event | None = None
    ) -> None:
        self._host, self._seed = host, seed
        self._keys = own_keys(host)
        self._identity = keys.signing_public(self._keys.identity)
        self._state = State(host, seed.operator, self._names_us)
        self._bird = Bird(host.path(file_paths.BIRD_SOCKET))
        self.stop = stop or threading.Event()
        self._health_news = threading.Event()
        self._workers = Workers(self.stop, self._health_changed)
        self._holds = Holds(host, seed.node, lambda: self._state.obeyed_order(HOLD))
        self._repairs = Repairs(self._health_changed, lambda: self._holds.active)
        self._announcer = Announcer(
            host, self._bird, self._health_changed, self._workers, self._repairs
        )
        self._blackholes = Blackholes(host, self._bird, self._health_changed)
        self._routing = RoutingMonitor(
            self._bird,
            self._health_changed,
            lambda: self._state.obeyed_order(BLACKHOLE),
            lambda: max((link.asked(BLACKHOLE) for link in self._open()), default=-math.inf),
        )
        self._rejected_routes = RejectedRoutes()
        self._sessions, self._tunnels = Sessions(self._bird), Tunnels(host)
        self._refusals = Refusals()
        self._login_use = LoginUse(host, self._health_changed)
        self._bundle_update = BundleUpdate(host, manager, seed)
        self._applier = Applier(host, manager, self._bird, self._reachable)
        self._repair = Repair(
            host,
            manager,
            self._bird,
            self._applier,
            self._repairs,
            self._in_force,
            lambda: self._holds.active,
            self._announcer.look_soon,
        )
        self._held_from = 0
        """The generation that is logged as waiting for the end of a hold."""
        self._placed: tuple[Applied, InForce | None] | None = None
        self.failed = False
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._links: dict[str, RegistryLink] = {}
        self._versions: own_facts.HostVersions | None = None
        self._facts: tuple[JoinRequest | None, float] = (None, -FACTS_AGE)
        self._certificates: dict[str, str | None] = {}
        self._outcome: tuple[HighestManifest, Outcome, str] | None = None
        self._unfinished: dict[str, str] = {}
        """Why no change can be made, by the name of the fault; empty if changes can be made."""
        self._waits = self._applier.unconfirmed is not None
        """Whether a change waits for a log-in."""
        self._sequence = 0
        self._resend = threading.Event()
        self._clocks: dict[str, int] = {}
        self._obeyed = 0
        self._refused: dict[tuple[str, str], float] = {}
        self._signer = Signer("node", seed.node, self._keys.identity)
        self._candidate = Signer("token", seed.node, joining.proof_private(seed.token))
        planned = PlannedNodes(host, seed.registry_port, self._candidate)
        self._registry_port = RegistryPort(
            host, planned, self._health_changed, lambda: self._holds.active
        )

    @property
    def beat(self) -> float:
        """When the announcement last ran without an error (monotonic seconds); minus infinity if a
        thread has ended unexpectedly."""
        return self._announcer.beat if self._workers.alive else -math.inf

    @property
    def works(self) -> bool:
        """Whether the announcement has been shown to work (:mod:`announce`)."""
        return self._announcer.works

    def run(self) -> None:
        """Runs until :attr:`stop` is set."""
        content = written_state(self._host).file()
        # No file before the first generation, and a shorter one from bundles before draining.
        if self._host.read(file_paths.ANNOUNCE) != content:
            self._host.write(file_paths.ANNOUNCE, content, 0o644)
        self._resume()
        for url in self._seed.registries:
            self._connect(url)
        # An interrupted change is undone while the threads run: it may take longer than the time
        # until the node withdraws. No thread reconfigures BIRD meanwhile.
        with self._bird.changing:
            for name, work in (
                ("presence", lambda: self._announcer.run(self.stop)),
                ("blackholes", lambda: self._blackholes.run(self.stop)),
                ("health", self._report_health),
                ("lookout", lambda: self._routing.run(self.stop)),
                ("rejected routes", lambda: self._rejected_routes.run(self.stop)),
                ("repair", lambda: self._repair.run(self.stop)),
                ("log-ins", lambda: self._login_use.run(self.stop)),
            ):
                self._workers.start(name, work)
            if self._seed.registry:
                self._workers.start("registry port", lambda: self._registry_port.run(self.stop))
            self._recover()
        self._follow()

    def _recover(self) -> None:
        """Undoes an interrupted change. If that fails, it is tried again before the next change;
        all else goes on."""
        try:
            found = self._applier.recover()
        except Exception as error:
            why = printable(f"a change that was cut short is not undone yet: {error}")
            self._unfinished = {disk.fault(error): why}
            log.warning("not-recovered", reason=error)
            return
        self._unfinished = {}
        self._state.read_applied()
        if found:
            log.warning("recovered", reason="an earlier change was cut short and has been undone")
            self._watch()

    # --- manifests and orders ----------------------------------------------------------------

    def _resume(self) -> None:
        """Continues with the state on disk, before any registry is asked."""
        highest, applied = self._state.highest, self._state.applied
        if highest is not None:
            for entry in highest.manifest.registries:
                self._connect(entry.url)
        # First: a drained node must not serve again.
        self._obey_orders()
        if applied is not None:
            self._watch()
        if highest is None:
            return
        self._registry_port.watch(highest.manifest)
        if highest.manifest.retired:
            self._announcer.retire()
            self._outcome = (highest, "withdrawn", "")
        elif applied is not None and applied.generation == highest.number:
            self._outcome = (highest, "applied", "")
        else:
            self._news.set()

    def _offer(self, envelope: Signed, url: str) -> int | None:
        """A manifest from a registry. The highest valid one counts, from any registry."""
        try:
            known = verified(self._seed.operator, envelope)
        except Rejected as error:
            self._refuse("manifest", envelope, url, error)
            return None
        with self._lock:
            try:
                if self._state.accept(known):
                    log.info("manifest", generation=known.number, url=url)
                    # Orders received before the first manifest.
                    self._obey_orders()
                    self._news.set()
                self._refusals.taken("manifest", url, known.number)
            except Rejected as error:
                self._refuse("manifest", envelope, url, error)
        return known.number

    def _offer_order(self, kind: Kind[Any], envelope: Signed, url: str) -> int | None:
        """An order from a registry, applied at once: it waits for no generation."""
        try:
            ordered = verified_order(self._seed.operator, kind, envelope)
        except Rejected as error:
            self._refuse(kind.key, envelope, url, error)
            return None
        with self._lock:
            try:
                if self._state.accept_order(ordered):
                    log.info(f"{kind.key}-order", number=ordered.number, url=url)
                    self._obey_orders()
                self._refusals.taken(kind.key, url, ordered.number)
            except Rejected as error:
                self._refuse(kind.key, envelope, url, error)
        self._health_changed()
        return ordered.number

    def _refuse(self, what: What, envelope: Signed, url: str, reason: Rejected) -> None:
        """Reports the refusal if our operator has signed the envelope. Logs it at most once a
        minute: a registry may repeat it for ever."""
        number = stated_number(envelope)
        if not isinstance(reason, Forged):
            stated = f"{reason}; offered by {url}"[:MAX_REFUSAL_REASON]
            # Versions before holds could not read a report with a refused hold.
            if what != "hold":
                self._refusals.add(url, Refusal(what, number, envelope.digest, stated))
            self._health_changed()
        now = time.monotonic()
        if now - self._refused.get((what, url), -COMPLAINTS) >= COMPLAINTS:
            self._refused[what, url] = now
            event = "manifest" if what == "manifest" else f"{what}-order"
            log.warning(f"{event}-refused", number=number, url=url, reason=reason)

    def _obey_orders(self) -> None:
        drain = self._state.obeyed_order(DRAIN)
        if drain is not None:
            self._announcer.drain(self._seed.node in drain.nodes)
        blackhole = self._state.obeyed_order(BLACKHOLE)
        if blackhole is not None:
            self._blackholes.obey(blackhole)

    def _follow(self) -> None:
        """Applies the highest manifest; retries until it is in force or there is a higher one. A
        part that the node refuses is not tried again."""
        pause = 0.2
        while not self.stop.is_set():
            has_news = self._news.wait(timeout=0.5)
            # Also on hold: an unconfirmed change is rolled back in time.
            self._settle_unconfirmed()
            if not has_news or self._waits_for_hold():
                continue
            self._news.clear()
            known = self._state.highest
            if known is None or not self._is_member():
                continue
            for entry in known.manifest.registries:
                self._connect(entry.url)
            try:
                self._bring_into_force(known)
                pause = 0.2
            except Unreachable as error:
                log.warning("part", generation=known.number, reason=error)
                self.stop.wait(pause)
                pause = min(pause * 2, 10.0)
                self._news.set()
            except (NotWritten, OSError) as error:
                log.warning("not-applied", generation=known.number, reason=error)
                self._settle(known, "failed", str(error))
                # The next try begins with undoing this one.
                at_fault = "disk" if isinstance(error, NotWritten) else disk.fault(error)
                self._unfinished = self._unfinished or {at_fault: str(error)}
                self._news.wait(FULL_DISK)
                self._news.set()
            except (Rejected, NotApplied, NotForUs, Malformed) as error:
                log.warning("not-applied", generation=known.number, reason=error)
                self._recover()
                self._settle(known, "failed", str(error))
            except Exception as error:
                # An agent that ended here would end again after each start.
                reason = printable(f"{type(error).__name__}: {error}")
                log.warning("not-applied", generation=known.number, reason=reason)
                self._recover()
                self._settle(known, "failed", reason)

    def _waits_for_hold(self) -> bool:
        """Whether a hold delays the manifest; returns after half a second then. A retired network
        is not held."""
        until, known = self._holds.until, self._state.highest
        if not until or known is None or known.manifest.retired:
            return False
        if self._held_from != known.number:
            self._held_from = known.number
            log.info("held", generation=known.number, until=moment(until))
        self.stop.wait(0.5)
        return True

    def _bring_into_force(self, known: HighestManifest) -> None:
        if known.manifest.retired:
            self._announcer.retire()
            # Reported once the node has withdrawn, not before.
            while not self._announcer.gone and not self.stop.is_set():
                time.sleep(0.05)
            self._settle(known, "withdrawn", "")
            return
        if self._unfinished:
            self._recover()
        if self._unfinished:
            raise NotWritten("; ".join(self._unfinished.values()))
        if self._is_decided(known):
            return
        if self._bundle_update.needed(known.manifest.bundle):
            self._bundle_update.renew(known.manifest.bundle, self._urls(), self.stop)
            return
        text = self._part(known)
        part = verified_part(known, self._seed.node, text)
        self._registry_port.judge(known.manifest, part)
        secrets = self._secrets(part, known.number)
        before = self._before()
        began = time.monotonic()
        applied = Applied(known.number, known.envelope.digest, text)
        # No repair of the generation before, until this one is stored as applied.
        with self._applier.changing:
            changed = self._applier.apply(part, secrets, before, applied)
            waiting = self._applier.unconfirmed
            if waiting is None:
                self._state.confirm(applied)
        if waiting is not None:
            log.warning("unconfirmed", generation=known.number, lost="; ".join(waiting.lost))
            self._waits = True
            self._watch()
            return
        log.info(
            "applied",
            generation=known.number,
            changed=len(changed),
            seconds=round(time.monotonic() - began, 3),
        )
        self._settle(known, "applied", "")
        self._watch()
        self._registry_port.watch(known.manifest)

    def _is_decided(self, known: HighestManifest) -> bool:
        """Whether a manifest is in force, waits for a log-in, or was undone without one."""
        waiting, undone = self._applier.unconfirmed, self._applier.undone
        applied = self._state.applied
        if applied is not None and applied.manifest_sha256 == known.envelope.digest:
            self._settle(known, "applied", "")
            self._registry_port.watch(known.manifest)
            return True
        if waiting is not None:
            self._waits = True
            return waiting.manifest == known.envelope.digest
        if undone is None or undone.manifest != known.envelope.digest:
            return False
        self._settle(known, "failed", undone.reason)
        return True

    def _settle_unconfirmed(self) -> None:
        """Confirms or rolls back a change that waits for a log-in, or reads what the timer did."""
        if not self._waits:
            return
        try:
            # No repair until the generation in force is read again.
            with self._applier.changing:
                self._waits = self._applier.settle()
                if not self._waits:
                    self._state.read_applied()
        except (CommandFailed, OSError, ValueError) as error:
            # Tried again, as every undo that the disk prevents.
            log.warning("unconfirmed", reason=error)
            self._unfinished = {disk.fault(error): printable(str(error))}
            self._health_changed()
            self._news.wait(FULL_DISK)
            return
        if not self._waits:
            self._unfinished = {}
            self._watch()
            # The outcome is reported and stored, as of any generation.
            self._news.set()

    def _secrets(self, part: Part, generation: int) -> dict[str, bytes]:
        """The contents of a part's sealed files by path."""
        return {
            file.path: unseal(self._keys.sealing, self._seed.node, generation, file.path, file.box)
            for file in part.sealed
        }

    def _in_force(self) -> InForce | None:
        """The generation in force; None if there is none, or if this version cannot read it."""
        applied = self._state.applied
        if applied is None or (self._waits and self._applier.unconfirmed is None):
            # The timer has kept or undone the change; its result is not read yet.
            return None
        if self._placed is None or self._placed[0] is not applied:
            self._placed = (applied, self._read(applied))
        return self._placed[1]

    def _read(self, applied: Applied) -> InForce | None:
        def contents() -> Mapping[str, Content]:
            part = applied.parsed()
            return self._applier.contents(part, self._secrets(part, applied.generation))

        try:
            return InForce.of(applied.generation, applied.parsed().units, contents)
        except (Malformed, NotForUs, CommandFailed) as error:
            log.warning("not-repaired", generation=applied.generation, reason=error)
            return None

    def _before(self) -> Part | None:
        """The part in force; None if an earlier version wrote it and this one cannot read it: files
        that only it had are not removed then."""
        if self._state.applied is None:
            return None
        try:
            return self._state.applied.parsed()
        except Malformed as error:
            log.warning("part-in-force", reason=error)
            return None

    def _watch(self) -> None:
        content = self._host.read(file_paths.CONFIG)
        if content is None:
            return
        try:
            config = parse(Config, content)
            self._blackholes.watch(config)
            self._announcer.watch(config)
            self._routing.watch(config)
            self._sessions.watch(config)
            self._tunnels.watch(config)
            self._health_changed()
        except Malformed as error:
            # Of an earlier version: addresses stay bound until the next generation is applied.
            log.warning("configuration", reason=error)

    def _part(self, known: HighestManifest) -> str:
        """Our part, from any registry that has it."""
        target = f"{paths.PARTS}/{self._seed.node}"
        reasons: list[str] = []
        for url in self._urls():
            try:
                with Client(url, self._signer) as client:
                    answer = client.ask("GET", target, signed=True)
            except Unreachable as error:
                reasons.append(str(error))
                continue
            if answer.ok:
                text = answer.body.decode("utf-8", "replace")
                try:
                    verified_part(known, self._seed.node, text)
                except Rejected as error:
                    reasons.append(f"{url}: {error}")
                    continue
                return text
            reasons.append(f"{url}: {answer.why()}")
        raise Unreachable("; ".join(reasons) or "no registry")

    # --- joining -----------------------------------------------------------------------------

    def _is_member(self) -> bool:
        highest = self._state.highest
        return highest is not None and self._names_us(highest.manifest)

    def _names_us(self, manifest: Manifest) -> bool:
        entry = manifest.nodes.get(self._seed.node)
        return entry is not None and entry.identity == self._identity

    def _request(self) -> JoinRequest | None:
        """Our request to join with the current facts; None while they are incomplete."""
        with self._lock:
            request, asked = self._facts
            if time.monotonic() - asked < FACTS_AGE:
                return request
            try:
                if self._versions is None:
                    self._versions = own_facts.versions(self._host)
                found = own_facts.facts(self._host, self._keys, self._versions, self._seed.registry)
                request = joining.join_request(self._seed.token, self._seed.node, found)
            except (own_facts.NoFacts, ValueError) as error:
                log.warning("facts", reason=error)
                request = None
            self._facts = (request, time.monotonic())
            return request

    # --- registries --------------------------------------------------------------------------

    def _connect(self, url: str) -> None:
        if url not in self._links:
            callbacks = Callbacks(
                held=lambda: self._state.highest,
                ordered=lambda kind: self._state.order(kind),
                is_member=self._is_member,
                request=self._request,
                offer=self._offer,
                offer_order=self._offer_order,
                certificate=self._seen_certificate,
                clock=self._seen_clock,
                later=self._newer_report,
                superseded=lambda what: self._refusals.taken(what, url, 0),
                candidate=self._candidate,
            )
            try:
                link = RegistryLink(url, self._signer, callbacks, self.stop)
            except ValueError as error:
                log.warning("registry", reason=error)
                return
            self._links[url] = link
            link.start(self._workers)

    def _open(self) -> list[RegistryLink]:
        return list(self._links.values())

    def _urls(self) -> list[str]:
        return list(self._links)

    def _reachable(self) -> bool:
        """Whether some registry answers on a new connection. One on this node answers over lo,
        whatever the firewall: :mod:`registry_port` judges that before it is in force."""
        for url in self._urls():
            try:
                with Client(url, timeout=3.0) as client:
                    if client.ask("GET", paths.HEALTH, limit=paths.MAX_SMALL).ok:
                        return True
            except Unreachable:
                continue
        return False

    def _seen_certificate(self, url: str, digest: str | None) -> None:
        """Reports a certificate that is not the manifest's; it has no other effect."""
        if self._certificates.get(url) != digest:
            self._certificates[url] = digest
            for bad in self._mismatches():
                log.warning("certificate", url=bad, reason="not the one that the manifest names")
            self._health_changed()

    def _seen_clock(self, url: str, ahead: float) -> None:
        """Reports a registry whose clock differs from ours; it has no other effect."""
        seconds = 0 if abs(ahead) < CLOCKS_DIFFER else round(ahead)
        with self._lock:
            held = self._clocks.get(url, 0)
            # The measurement is off by up to two seconds.
            if bool(seconds) == bool(held) and abs(seconds - held) < CLOCKS_DIFFER:
                return
            self._clocks[url] = seconds
        log.warning("clock", url=url, seconds_ahead=seconds)
        self._health_changed()

    def _other_clocks(self) -> dict[str, int]:
        with self._lock:
            off = sorted((url, ahead) for url, ahead in self._clocks.items() if ahead)
        return dict(off[:MAX_CLOCKS])

    def _mismatches(self) -> tuple[str, ...]:
        highest = self._state.highest
        if highest is None:
            return ()
        return tuple(
            entry.url
            for entry in highest.manifest.registries
            if entry.tls_sha256 is not None
            and self._certificates.get(entry.url) not in (None, entry.tls_sha256)
        )

    # --- reports -----------------------------------------------------------------------------

    def _settle(self, known: HighestManifest, outcome: Outcome, reason: str) -> None:
        with self._lock:
            self._outcome = (known, outcome, reason[:4096])
        self._health_changed()

    def _health_changed(self) -> None:
        self._health_news.set()

    def _report_health(self) -> None:
        """Reports every change, and every HEARTBEAT without one."""
        last: tuple[GenerationOutcome, Health] | None = None
        sent = 0.0
        well = False
        while not self.stop.is_set():
            self._health_news.wait(HEALTH_EVERY[well])
            self._health_news.clear()
            if self._state.unsaved:
                self._state.save()
            outcome = self._generation_outcome(self._refusals.standing)
            if outcome is None and last is not None:
                # The end of a reported refusal is reported too.
                outcome = replace(last[0], reason="no generation is applied yet")
            if outcome is None:
                continue
            health = self._health()
            well = not health.bird and not health.down
            now = (outcome, health)
            if now != last or self._resend.is_set() or time.monotonic() - sent >= HEARTBEAT:
                self._resend.clear()
                last, sent = now, time.monotonic()
                self._send(outcome, health)

    def _generation_outcome(self, refusals: tuple[Refusal, ...]) -> GenerationOutcome | None:
        """The outcome to report; None while there is nothing to report.

        Before the first outcome, a refusal is reported with the digest of the refused envelope and
        :data:`NO_NONCE`, which no operator waits for.
        """
        with self._lock:
            outcome = self._outcome
        if outcome is not None:
            known, result, reason = outcome
            nonce = known.manifest.nonce
            return GenerationOutcome(known.number, known.envelope.digest, nonce, result, reason)
        if not refusals:
            return None
        first = refusals[0]
        return GenerationOutcome(
            max(1, first.number), first.digest, NO_NONCE, "failed", first.reason
        )

    def _health(self) -> Health:
        seen = self._sessions.look()
        drain, drained = self._drain()
        held = self._state.obeyed_order(HOLD)
        return Health(
            in_service=self._announcer.announcing,
            services=self._announcer.services(),
            sessions=seen.states,
            tls_mismatches=self._mismatches(),
            drain=drain,
            drained=drained,
            blackhole=self._blackholes.obeyed,
            alarms=self._routing.alarms,
            ways=self._routing.ways,
            hearsay=self._routing.hearsay,
            refused=self._rejected_routes.counts,
            bird=seen.bird,
            announced=seen.announced,
            down=seen.down,
            failures=self._announcer.failures(),
            tunnels=self._tunnels.problems(),
            refusals=self._refusals.standing,
            faults=self._faults(),
            clocks=self._other_clocks(),
            repairs=self._repairs.reported,
            hold=0 if held is None else held.number,
            held=self._holds.until,
            unconfirmed=self._unconfirmed(),
            logins=self._login_use.used,
        )

    def _unconfirmed(self) -> Unconfirmed | None:
        waiting = self._applier.unconfirmed if self._waits else None
        if waiting is None or not waiting.ends:
            return None
        return Unconfirmed(
            generation=waiting.generation,
            ends=waiting.ends,
            lost=tuple(one[:MAX_ERROR] for one in waiting.lost[:MAX_ACCESS]),
            networks=tuple(map(ip_network, waiting.networks[:MAX_ACCESS])),
            ports=waiting.ports[:MAX_ACCESS],
            user=waiting.user if re.match(LOGIN, waiting.user) else "root",
        )

    def _faults(self) -> dict[str, str]:
        """The faults of the node and of this agent, by name."""
        full = disk.problem(self._host)
        own = ({"disk": full} if full else {}) | self._unfinished | self._state.unsaved
        found = list(own.items())
        if self._registry_port.fault:
            found.append(("registry", self._registry_port.fault))
        found += self._announcer.faults.items()
        found += [(f"thread {name}", why) for name, why in sorted(self._workers.failures.items())]
        return {name[:MAX_NAME]: printable(why)[:MAX_ERROR] for name, why in found[:MAX_FAULTS]}

    def _drain(self) -> tuple[int, bool]:
        """The number of the drain order applied last, and whether the node is drained. An order to
        drain is applied once the node has withdrawn."""
        order = self._state.obeyed_order(DRAIN)
        drained = self._announcer.drained
        if order is not None and drained == (self._seed.node in order.nodes):
            self._obeyed = order.number
        return self._obeyed, drained

    def _next(self, now: int) -> int:
        """A number above those of all earlier reports: the clock in microseconds, so that it is
        above those before a restart as well, or the last number plus one."""
        with self._lock:
            self._sequence = min(max(now, self._sequence + 1), MAX_NUMBER)
            return self._sequence

    def _newer_report(self, held: Signed) -> None:
        """A registry holds a report with a higher number than the one we sent. If we signed it
        before a restart, we continue above its number."""
        try:
            report = signing.opened(self._identity, Purpose.REPORT, held, Report)
        except (BadSignature, Malformed):
            return
        with self._lock:
            if report.node != self._seed.node or report.sequence <= self._sequence:
                return
            self._sequence = report.sequence
        self._resend.set()
        self._health_changed()

    def _send(self, outcome: GenerationOutcome, health: Health) -> None:
        applied, now = self._state.applied, time.time_ns() // 1000
        report = Report(
            node=self._seed.node,
            generation=outcome.generation,
            manifest_sha256=outcome.manifest_sha256,
            nonce=outcome.nonce,
            outcome=outcome.outcome,
            reason=outcome.reason,
            applied=0 if applied is None else applied.generation,
            sequence=self._next(now),
            bundle=self._bundle_update.running,
            health=health,
            clock=now,
        )
        signed = signing.signed_document(self._keys.identity, Purpose.REPORT, report)
        for link in self._open():
            link.report(signed)
