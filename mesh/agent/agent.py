"""The agent: joins, follows the operator's word, keeps the node as it says, and reports.

Threads: one that applies (this one), two per registry (:mod:`line`), one for the announcement and
one per check (:mod:`presence`), one each for blackholes, the lookout, BIRD's words and the
watchdog. They meet in a queue of verified manifests.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from mesh.agent import facts as own_facts
from mesh.agent import log, places
from mesh.agent.apply import Applier, NotApplied
from mesh.agent.bird import Bird
from mesh.agent.blackholes import Blackholes
from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.agent.keys import own_keys
from mesh.agent.line import Ears, Line
from mesh.agent.lookout import Lookout
from mesh.agent.presence import Presence, said
from mesh.agent.refusals import Refusals
from mesh.agent.rejections import Rejections, What
from mesh.agent.renewal import Renewal
from mesh.agent.seed import Seed
from mesh.agent.sessions import Sessions
from mesh.agent.state import (
    Applied,
    Forged,
    Known,
    Rejected,
    State,
    stated_number,
    verified,
    verified_order,
    verified_part,
)
from mesh.agent.tunnels import Tunnels
from mesh.agent.units import Units
from mesh.discovery import paths
from mesh.discovery.client import Client, Unreachable
from mesh.trust import joining, keys, signing
from mesh.trust.documents import (
    MAX_REFUSAL_REASON,
    Health,
    JoinRequest,
    Manifest,
    Part,
    Refusal,
    Report,
)
from mesh.trust.encoding import Malformed, b64, parse
from mesh.trust.orders import BLACKHOLE, DRAIN, Kind
from mesh.trust.requests import Signer
from mesh.trust.sealing import NotForUs, unseal
from mesh.trust.signing import Purpose, Signed

FACTS_AGE = 1.0
"""Seconds for which the facts are not asked for again."""
HEALTH_EVERY = (0.4, 2.0)
"""Seconds between two looks at the sessions for the report: while one is down, and else."""
HEARTBEAT = 30.0
"""Seconds after which a report is sent although nothing has changed."""
COMPLAINTS = 60.0
"""Seconds until it is said again that a registry offers what is refused."""


NO_NONCE = b64(bytes(32))
"""In a report that speaks of no manifest that could be read."""

Outcome = Literal["applied", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Word:
    """What a report says of one generation."""

    generation: int
    manifest_sha256: str
    nonce: str
    outcome: Outcome
    reason: str


class Agent:
    """One node's agent."""

    def __init__(self, host: Host, seed: Seed, manager: Units) -> None:
        self._host, self._seed = host, seed
        self._keys = own_keys(host)
        self._identity = keys.signing_public(self._keys.identity)
        self._state = State(host, seed.operator, self._names_us)
        self._bird = Bird(host.path(places.BIRD_SOCKET))
        self._presence = Presence(host, self._bird, self._health_changed)
        self._blackholes = Blackholes(host, self._bird, self._health_changed)
        self._lookout = Lookout(
            self._bird,
            self._health_changed,
            lambda: self._state.obeyed_order(BLACKHOLE),
            lambda: max((line.asked(BLACKHOLE) for line in self._open()), default=-math.inf),
        )
        self._refusals = Refusals()
        self._sessions, self._tunnels = Sessions(self._bird), Tunnels(host)
        self._rejections = Rejections()
        self._renewal = Renewal(host, manager, seed)
        self._applier = Applier(host, manager, self._bird, self._reachable)
        self.stop = threading.Event()
        self.failed = False
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._lines: dict[str, Line] = {}
        self._steady: own_facts.Steady | None = None
        self._facts: tuple[JoinRequest | None, float] = (None, -FACTS_AGE)
        self._certificates: dict[str, str | None] = {}
        self._outcome: tuple[Known, Outcome, str] | None = None
        self._health_news = threading.Event()
        self._obeyed = 0
        self._refused: dict[tuple[str, str], float] = {}
        self._threads: tuple[threading.Thread, ...] = ()
        self._signer = Signer("node", seed.node, self._keys.identity)

    @property
    def beat(self) -> float:
        """When the agent was seen alive last (monotonic seconds); never, where one of its threads
        has ended on its own."""
        if not all(thread.is_alive() for thread in self._threads):
            return -math.inf
        return self._presence.beat

    def run(self) -> None:
        """Works until :attr:`stop` is set."""
        word = said(self._host).file()
        # None before the first generation, and a shorter one from a bundle before draining.
        if self._host.read(places.ANNOUNCE) != word:
            self._host.write(places.ANNOUNCE, word, 0o644)
        if self._applier.recover():
            log.warning("recovered", reason="an earlier change was cut short and has been undone")
        self._resume()
        for url in self._seed.registries:
            self._connect(url)
        for name, work in (
            ("presence", lambda: self._presence.run(self.stop)),
            ("blackholes", lambda: self._blackholes.run(self.stop)),
            ("health", self._report_health),
            ("lookout", lambda: self._lookout.run(self.stop)),
            ("refusals", lambda: self._refusals.run(self.stop)),
        ):
            thread = threading.Thread(target=work, name=name, daemon=True)
            thread.start()
            self._threads = (*self._threads, thread)
        self._follow()

    # --- the operator's word -----------------------------------------------------------------

    def _resume(self) -> None:
        """Goes on with what is in force on disk, before any registry is asked."""
        highest, applied = self._state.highest, self._state.applied
        if highest is not None:
            for entry in highest.manifest.registries:
                self._connect(entry.url)
        # First of all: what a drained node has let go of, it does not take up again.
        self._obey_orders()
        if applied is not None:
            self._watch()
        if highest is None:
            return
        if highest.manifest.retired:
            self._presence.retire()
            self._outcome = (highest, "withdrawn", "")
        elif applied is not None and applied.generation == highest.number:
            self._outcome = (highest, "applied", "")
        else:
            self._news.set()

    def _offer(self, envelope: Signed, url: str) -> int | None:
        """A manifest from a registry. The highest valid one counts, whoever brings it."""
        try:
            known = verified(self._seed.operator, envelope)
        except Rejected as error:
            self._refuse("manifest", envelope, url, error)
            return None
        with self._lock:
            try:
                if self._state.accept(known):
                    log.info("manifest", generation=known.number, url=url)
                    # Orders that came before we knew which network is ours.
                    self._obey_orders()
                    self._news.set()
                self._rejections.taken("manifest", url, known.number)
            except Rejected as error:
                self._refuse("manifest", envelope, url, error)
        return known.number

    def _offer_order(self, kind: Kind[Any], envelope: Signed, url: str) -> int | None:
        """An order from a registry, obeyed at once: it waits for no generation."""
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
                self._rejections.taken(kind.key, url, ordered.number)
            except Rejected as error:
                self._refuse(kind.key, envelope, url, error)
        self._health_changed()
        return ordered.number

    def _refuse(self, what: What, envelope: Signed, url: str, reason: Rejected) -> None:
        """Reports it where our operator has signed it; logs it once in a while: a registry may
        offer the same for ever."""
        number = stated_number(envelope)
        if not isinstance(reason, Forged):
            words = f"{reason}; offered by {url}"[:MAX_REFUSAL_REASON]
            self._rejections.add(url, Refusal(what, number, envelope.digest, words))
            self._health_changed()
        now = time.monotonic()
        if now - self._refused.get((what, url), -COMPLAINTS) >= COMPLAINTS:
            self._refused[what, url] = now
            event = "manifest" if what == "manifest" else f"{what}-order"
            log.warning(f"{event}-refused", number=number, url=url, reason=reason)

    def _obey_orders(self) -> None:
        drain = self._state.obeyed_order(DRAIN)
        if drain is not None:
            self._presence.drain(self._seed.node in drain.nodes)
        blackhole = self._state.obeyed_order(BLACKHOLE)
        if blackhole is not None:
            self._blackholes.obey(blackhole)

    def _follow(self) -> None:
        """Brings the highest manifest into force, again and again until it is or a higher one
        comes. What the node itself refuses is not tried again."""
        pause = 0.2
        while not self.stop.is_set():
            if not self._news.wait(timeout=0.5):
                continue
            self._news.clear()
            known = self._state.highest
            if known is None or not self._is_member():
                continue
            for entry in known.manifest.registries:
                self._connect(entry.url)
            try:
                self._obey(known)
                pause = 0.2
            except Unreachable as error:
                log.warning("part", generation=known.number, reason=error)
                self.stop.wait(pause)
                pause = min(pause * 2, 10.0)
                self._news.set()
            except (Rejected, NotApplied, NotForUs, Malformed) as error:
                log.warning("not-applied", generation=known.number, reason=error)
                self._settle(known, "failed", str(error))

    def _obey(self, known: Known) -> None:
        if known.manifest.retired:
            self._presence.retire()
            # What has been withdrawn is reported, not what will be.
            while not self._presence.gone and not self.stop.is_set():
                time.sleep(0.05)
            self._settle(known, "withdrawn", "")
            return
        if self._renewal.needed(known.manifest.bundle):
            self._renewal.renew(known.manifest.bundle, self._urls(), self.stop)
            return
        text = self._part(known)
        part = verified_part(known, self._seed.node, text)
        secrets = {
            file.path: unseal(
                self._keys.sealing, self._seed.node, known.number, file.path, file.box
            )
            for file in part.sealed
        }
        before = self._before()
        began = time.monotonic()
        changed = self._applier.apply(part, secrets, before)
        self._state.confirm(Applied(known.number, known.envelope.digest, text))
        log.info(
            "applied",
            generation=known.number,
            changed=len(changed),
            seconds=round(time.monotonic() - began, 3),
        )
        self._settle(known, "applied", "")
        self._watch()

    def _before(self) -> Part | None:
        """The part in force; None where an earlier version wrote it and this one cannot read it:
        what it has left behind is not cleared away then, and no harm."""
        if self._state.applied is None:
            return None
        try:
            return self._state.applied.parsed()
        except Malformed as error:
            log.warning("part-in-force", reason=error)
            return None

    def _watch(self) -> None:
        content = self._host.read(places.CONFIG)
        if content is None:
            return
        try:
            config = parse(Config, content)
            self._blackholes.watch(config)
            self._presence.watch(config)
            self._lookout.watch(config)
            self._sessions.watch(config)
            self._tunnels.watch(config)
            self._health_changed()
        except Malformed as error:
            # Of an earlier version. What is bound stays so until the next generation is applied.
            log.warning("configuration", reason=error)

    def _part(self, known: Known) -> str:
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
        """Our request to join with the facts as they are; None while we do not know them."""
        with self._lock:
            request, asked = self._facts
            if time.monotonic() - asked < FACTS_AGE:
                return request
            try:
                if self._steady is None:
                    self._steady = own_facts.steady(self._host)
                found = own_facts.facts(self._host, self._keys, self._steady, self._seed.registry)
                request = joining.join_request(self._seed.token, self._seed.node, found)
            except (own_facts.NoFacts, ValueError) as error:
                log.warning("facts", reason=error)
                request = None
            self._facts = (request, time.monotonic())
            return request

    # --- registries --------------------------------------------------------------------------

    def _connect(self, url: str) -> None:
        if url not in self._lines:
            ears = Ears(
                held=lambda: self._state.highest,
                ordered=lambda kind: self._state.order(kind),
                is_member=self._is_member,
                request=self._request,
                offer=self._offer,
                offer_order=self._offer_order,
                certificate=self._seen_certificate,
                superseded=lambda what: self._rejections.taken(what, url, 0),
            )
            try:
                line = Line(url, self._signer, ears, self.stop)
            except ValueError as error:
                log.warning("registry", reason=error)
                return
            self._lines[url] = line
            line.start()

    def _open(self) -> list[Line]:
        return list(self._lines.values())

    def _urls(self) -> list[str]:
        return list(self._lines)

    def _reachable(self) -> bool:
        """Whether some registry can be asked, over a connection of its own."""
        for url in self._urls():
            try:
                with Client(url, timeout=3.0) as client:
                    if client.ask("GET", paths.HEALTH, limit=paths.MAX_SMALL).ok:
                        return True
            except Unreachable:
                continue
        return False

    def _seen_certificate(self, url: str, digest: str | None) -> None:
        """A certificate that is not the manifest's is reported, and changes nothing else."""
        if self._certificates.get(url) != digest:
            self._certificates[url] = digest
            for bad in self._mismatches():
                log.warning("certificate", url=bad, reason="not the one that the manifest names")
            self._health_changed()

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

    def _settle(self, known: Known, outcome: Outcome, reason: str) -> None:
        with self._lock:
            self._outcome = (known, outcome, reason[:4096])
        self._health_changed()

    def _health_changed(self) -> None:
        self._health_news.set()

    def _report_health(self) -> None:
        """Reports whenever something has changed, and once in a while when nothing has."""
        last: tuple[Word, Health] | None = None
        sent = 0.0
        well = False
        while not self.stop.is_set():
            self._health_news.wait(HEALTH_EVERY[well])
            self._health_news.clear()
            word = self._word(self._rejections.standing)
            if word is None and last is not None:
                # The refusal that was reported is over: that is reported too.
                word = replace(last[0], reason="no generation is applied yet")
            if word is None:
                continue
            health = self._health()
            well = not health.bird and not health.down
            now = (word, health)
            if now != last or time.monotonic() - sent >= HEARTBEAT:
                last, sent = now, time.monotonic()
                self._send(word, health)

    def _word(self, refusals: tuple[Refusal, ...]) -> Word | None:
        """What the report says of a generation; None while there is nothing to report.

        Where no outcome is there yet, a refusal is reported all the same, under the envelope that
        is refused: nobody waits for that with this nonce, so it stands for no outcome.
        """
        with self._lock:
            outcome = self._outcome
        if outcome is not None:
            known, result, reason = outcome
            nonce = known.manifest.nonce
            return Word(known.number, known.envelope.digest, nonce, result, reason)
        if not refusals:
            return None
        first = refusals[0]
        return Word(max(1, first.number), first.digest, NO_NONCE, "failed", first.reason)

    def _health(self) -> Health:
        seen = self._sessions.look()
        drain, drained = self._drain()
        return Health(
            in_service=self._presence.announcing,
            services=self._presence.services(),
            sessions=seen.states,
            tls_mismatches=self._mismatches(),
            drain=drain,
            drained=drained,
            blackhole=self._blackholes.obeyed,
            alarms=self._lookout.alarms,
            ways=self._lookout.ways,
            hearsay=self._lookout.hearsay,
            refused=self._refusals.counts,
            bird=seen.bird,
            announced=seen.announced,
            down=seen.down,
            failures=self._presence.failures(),
            tunnels=self._tunnels.problems(),
            refusals=self._rejections.standing,
        )

    def _drain(self) -> tuple[int, bool]:
        """The number of the drain order obeyed last, and whether the node is drained by it. An
        order to drain is obeyed once the node has withdrawn, and not before."""
        order = self._state.obeyed_order(DRAIN)
        drained = self._presence.drained
        if order is not None and drained == (self._seed.node in order.nodes):
            self._obeyed = order.number
        return self._obeyed, drained

    def _send(self, word: Word, health: Health) -> None:
        applied = self._state.applied
        report = Report(
            node=self._seed.node,
            generation=word.generation,
            manifest_sha256=word.manifest_sha256,
            nonce=word.nonce,
            outcome=word.outcome,
            reason=word.reason,
            applied=0 if applied is None else applied.generation,
            # Microseconds: above all reports before, also those from before a restart.
            sequence=time.time_ns() // 1000,
            bundle=self._renewal.running,
            health=health,
        )
        signed = signing.signed_document(self._keys.identity, Purpose.REPORT, report)
        for line in self._open():
            line.report(signed)
