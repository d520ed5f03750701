"""Follows the highest manifest: its generation is brought into force, and the outcome reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from mesh.agent import log
from mesh.agent.announce import Announcer
from mesh.agent.apply import NotApplied, NotWritten
from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.changes import Changes
from mesh.agent.contents import Contents
from mesh.agent.holds import Holds
from mesh.agent.links import RegistryLinks
from mesh.agent.parts import Parts
from mesh.agent.registry_port import RegistryPort
from mesh.agent.reporting import Reports
from mesh.agent.rollout import Rollout
from mesh.agent.state import HighestManifest, Rejected, State
from mesh.foreign import printable
from mesh.registry.client import Unreachable
from mesh.trust.documents import Part
from mesh.trust.encoding import Malformed, moment
from mesh.trust.sealing import NotForUs

LOOK = 0.1
"""Seconds between two looks at a node that drains, or at a bundle on trial."""
FULL_DISK = 30.0
"""Seconds until a failed write is tried again."""


class Generations:
    """Follows manifests until ``stop`` is set. ``watch`` is called when another generation is in
    force."""

    def __init__(
        self,
        state: State,
        links: RegistryLinks,
        parts: Parts,
        changes: Changes,
        bundle_update: BundleUpdate,
        registry_port: RegistryPort,
        announcer: Announcer,
        holds: Holds,
        reports: Reports,
        contents: Contents,
        rollout: Rollout,
        watch: Callable[[], None],
        stop: threading.Event,
    ) -> None:
        self._state, self._links, self._parts, self._changes = state, links, parts, changes
        self._bundle_update, self._registry_port = bundle_update, registry_port
        self._announcer, self._holds, self._reports = announcer, holds, reports
        self._contents, self._rollout = contents, rollout
        self._watch, self._stop = watch, stop
        self._news = threading.Event()
        self._fetched: tuple[HighestManifest, str, Part] | None = None
        """This node's part of a generation that is to be applied, and its text."""
        self._held_from = 0
        """The generation that is logged as waiting for the end of a hold."""

    def look(self) -> None:
        """Looks at the highest manifest soon."""
        self._news.set()

    def resume(self, highest: HighestManifest) -> None:
        """Continues with the generation that was on disk at the start."""
        applied = self._state.applied
        self._registry_port.watch(highest.manifest)
        if highest.manifest.retired:
            self._announcer.retire()
            self._reports.settle(highest, "withdrawn")
        elif applied is not None and applied.generation == highest.number:
            self._reports.settle(highest, "applied")
        else:
            self._news.set()

    def follow(self) -> None:
        """Applies the highest manifest; retries until it is in force or there is a higher one. A
        part that the node refuses is not tried again."""
        # This thread may have failed in the middle, and starts anew.
        self._rollout.end()
        pause = 0.2
        while not self._stop.is_set():
            has_news = self._news.wait(timeout=0.5)
            # Also on hold: an unconfirmed change is rolled back in time.
            self._settle_unconfirmed()
            if not has_news or self._waits_for_hold():
                continue
            self._news.clear()
            known = self._state.highest
            if known is None or not self._state.is_member:
                continue
            self._links.connect_all(known.manifest)
            try:
                self._try(known)
                pause = 0.2
            except Unreachable as error:
                log.warning("part", generation=known.number, reason=error)
                self._stop.wait(pause)
                pause = min(pause * 2, 10.0)
                self._news.set()
            except (NotWritten, OSError) as error:
                log.warning("not-applied", generation=known.number, reason=error)
                self._reports.settle(known, "failed", str(error))
                self._changes.cut_short(error)
                self._news.wait(FULL_DISK)
                self._news.set()
            except (Rejected, NotApplied, NotForUs, Malformed) as error:
                self._fail(known, str(error))
            except Exception as error:
                # An agent that ended here would end again after each start.
                self._fail(known, printable(f"{type(error).__name__}: {error}"))

    def _try(self, known: HighestManifest) -> None:
        """Applies a generation if this node may now. Whatever becomes of it, a drain for it ends,
        before anything is tried again."""
        leaving = False
        try:
            leaving = self._bring_into_force(known)
        finally:
            if not leaving:
                self._rollout.end()

    def _fail(self, known: HighestManifest, reason: str) -> None:
        log.warning("not-applied", generation=known.number, reason=reason)
        self._changes.recover()
        self._reports.settle(known, "failed", reason)

    def _waits_for_hold(self) -> bool:
        """Whether a hold delays the manifest; returns after half a second then. A retired network
        is not held."""
        until, known = self._holds.until, self._state.highest
        if not until or known is None or known.manifest.retired:
            return False
        if self._held_from != known.number:
            self._held_from = known.number
            log.info("held", generation=known.number, until=moment(until))
        self._rollout.end()
        self._stop.wait(0.5)
        return True

    def _bring_into_force(self, known: HighestManifest) -> bool:
        """The same; whether the node is about to apply it, and drains."""
        if known.manifest.retired:
            self._announcer.retire()
            # Reported once the node has withdrawn, not before.
            while not self._announcer.gone and not self._stop.is_set():
                time.sleep(0.05)
            self._reports.settle(known, "withdrawn")
            return False
        self._changes.ready()
        if self._bundle_update.on_trial:
            self._rollout.apply()
            return self._look_again()
        if self._is_decided(known):
            return False
        if self._rollout.waits(known):
            # A wave does not wait for what takes long. What is not to be had is asked for again.
            with suppress(Unreachable):
                self._prepared(known)
            return False
        if self._bundle_update.needed(known.manifest.bundle):
            self._rollout.apply()
            self._bundle_update.renew(known, self._links.urls, self._stop)
            return False
        text, part = self._prepared(known)
        if self._rollout.update != "draining":
            self._rollout.apply()
            self._judge(known, text, part)
        if self._rollout.drains(known) and not self._rollout.has_left():
            return self._look_again()
        self._apply(known, text, part)
        return False

    def _look_again(self) -> bool:
        """The same manifest again, a moment later."""
        self._stop.wait(LOOK)
        self._news.set()
        return True

    def _prepared(self, known: HighestManifest) -> tuple[str, Part]:
        """This node's part with its text; its contents are here as well."""
        if self._fetched is None or self._fetched[0] is not known:
            text, part = self._parts.fetched(known)
            self._contents.prepare(known, part)
            self._fetched = (known, text, part)
        return self._fetched[1:]

    def _judge(self, known: HighestManifest, text: str, part: Part) -> None:
        """Raises :class:`NotApplied` for what is refused before anything is changed: a node does
        not drain for it."""
        self._registry_port.judge(known.manifest, part)
        if self._rollout.drains(known):
            self._changes.check(known, text, part)

    def _apply(self, known: HighestManifest, text: str, part: Part) -> None:
        self._rollout.apply()
        self._fetched = None
        began = time.monotonic()
        changed = self._changes.apply(known, text, part)
        self._contents.look()
        if changed is None:
            self._watch()
            return
        log.info(
            "applied",
            generation=known.number,
            changed=len(changed),
            seconds=round(time.monotonic() - began, 3),
        )
        self._watch()
        # It is reported when the node is on its way back.
        self._rollout.end()
        self._reports.settle(known, "applied")
        self._registry_port.watch(known.manifest)

    def _is_decided(self, known: HighestManifest) -> bool:
        """Whether a manifest is in force, waits for a log-in, or was undone without one."""
        digest = known.envelope.digest
        if self._state.has_applied(known):
            self._reports.settle(known, "applied")
            self._registry_port.watch(known.manifest)
            return True
        waiting = self._changes.wait()
        if waiting is not None:
            return waiting.manifest == digest
        undone = self._changes.undone
        if undone is None or undone.manifest != digest:
            return False
        self._reports.settle(known, "failed", undone.reason)
        return True

    def _settle_unconfirmed(self) -> None:
        try:
            settled = self._changes.settle()
        except NotWritten:
            self._news.wait(FULL_DISK)
            return
        if settled:
            self._watch()
            # The outcome is reported and stored, as of any generation.
            self._news.set()
