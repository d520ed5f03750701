"""This node's reports: the outcome of the generation and the node's health, numbered and signed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.links import RegistryLinks
from mesh.agent.refusals import Refusals
from mesh.agent.state import HighestManifest, State
from mesh.trust import keys, signing
from mesh.trust.documents import MAX_NUMBER, Health, Refusal, Report
from mesh.trust.encoding import Malformed, b64
from mesh.trust.signing import BadSignature, Purpose, Signed

HEALTH_EVERY = (0.4, 2.0)
"""Seconds between two polls of the sessions for the report: while one is down, and otherwise."""
HEARTBEAT = 30.0
"""Seconds after which a report is sent although nothing has changed."""
NO_NONCE = b64(bytes(32))
"""The nonce of a report on no manifest that this agent has read."""

Outcome = Literal["applied", "failed", "withdrawn"]


@dataclass(frozen=True, slots=True)
class GenerationOutcome:
    """The outcome of a generation in a report."""

    generation: int
    manifest_sha256: str
    nonce: str
    outcome: Outcome
    reason: str


class Reports:
    """Reports every change that ``news`` announces, signed with the node's ``identity`` key.
    ``health`` returns the current health, and ``seen`` is called with what it returned."""

    def __init__(
        self,
        node: str,
        identity: str,
        state: State,
        refusals: Refusals,
        bundle_update: BundleUpdate,
        links: RegistryLinks,
        health: Callable[[], Health],
        news: threading.Event,
        seen: Callable[[Health], None],
    ) -> None:
        self._node, self._identity, self._seen = node, identity, seen
        self._public = keys.signing_public(identity)
        self._state, self._refusals, self._bundle_update = state, refusals, bundle_update
        self._links, self._health, self._news = links, health, news
        self._lock = threading.Lock()
        self._outcome: tuple[HighestManifest, Outcome, str] | None = None
        self._sequence = 0
        self._resend = threading.Event()

    def settle(self, known: HighestManifest, outcome: Outcome, reason: str = "") -> None:
        """Reports this outcome from now on."""
        with self._lock:
            self._outcome = (known, outcome, reason[:4096])
        self._news.set()

    def outcome(self, known: HighestManifest | None) -> tuple[Outcome | None, str]:
        """The outcome of that generation with its reason; None while it has none."""
        with self._lock:
            settled = self._outcome
        if known is None or settled is None or settled[0].envelope.digest != known.envelope.digest:
            return None, ""
        return settled[1], settled[2]

    def run(self, stop: threading.Event) -> None:
        """Reports every change, and every HEARTBEAT without one, until ``stop`` is set."""
        last: tuple[GenerationOutcome, Health] | None = None
        sent = 0.0
        well = False
        while not stop.is_set():
            self._news.wait(HEALTH_EVERY[well])
            self._news.clear()
            if self._state.unsaved:
                self._state.save()
            outcome = self._generation_outcome(self._refusals.standing)
            if outcome is None and last is not None:
                # The end of a reported refusal is reported too.
                outcome = replace(last[0], reason="no generation is applied yet")
            health = self._health()
            self._seen(health)
            well = not health.bird and not health.down
            if outcome is None:
                continue
            now = (outcome, health)
            if now != last or self._resend.is_set() or time.monotonic() - sent >= HEARTBEAT:
                self._resend.clear()
                last, sent = now, time.monotonic()
                self._send(outcome, health)

    def newer(self, held: Signed) -> None:
        """A registry holds a report with a higher number than the one we sent. If we signed it
        before a restart, we continue above its number."""
        try:
            report = signing.opened(self._public, Purpose.REPORT, held, Report)
        except (BadSignature, Malformed):
            return
        with self._lock:
            if report.node != self._node or report.sequence <= self._sequence:
                return
            self._sequence = report.sequence
        self.again()

    def again(self) -> None:
        """Reports once more, although nothing may have changed."""
        self._resend.set()
        self._news.set()

    def _generation_outcome(self, refusals: tuple[Refusal, ...]) -> GenerationOutcome | None:
        """The outcome to report; None while there is nothing to report.

        Before the first outcome, what is in force is reported, or a refusal with the digest of the
        refused envelope; with :data:`NO_NONCE`, which no operator waits for.
        """
        with self._lock:
            outcome = self._outcome
        if outcome is not None:
            known, result, reason = outcome
            nonce = known.manifest.nonce
            return GenerationOutcome(known.number, known.envelope.digest, nonce, result, reason)
        applied = self._state.applied
        if applied is not None:
            return GenerationOutcome(
                applied.generation, applied.manifest_sha256, NO_NONCE, "applied", ""
            )
        if not refusals:
            return None
        first = refusals[0]
        return GenerationOutcome(
            max(1, first.number), first.digest, NO_NONCE, "failed", first.reason
        )

    def _next(self, now: int) -> int:
        """A number above those of all earlier reports: the clock in microseconds, so that it is
        above those before a restart as well, or the last number plus one."""
        with self._lock:
            self._sequence = min(max(now, self._sequence + 1), MAX_NUMBER)
            return self._sequence

    def _send(self, outcome: GenerationOutcome, health: Health) -> None:
        applied, now = self._state.applied, time.time_ns() // 1000
        report = Report(
            node=self._node,
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
        self._links.report(signing.signed_document(self._identity, Purpose.REPORT, report))
