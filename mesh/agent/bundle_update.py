"""Updates the bundle: fetches it by its hash from any registry, tests it, and starts it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from mesh.agent import file_paths, log
from mesh.agent.apply import NotApplied
from mesh.agent.bundle_trial import CAPABILITY, BundleTrials, point_to, running
from mesh.agent.host import CommandFailed
from mesh.agent.seed import Seed
from mesh.agent.state import HighestManifest
from mesh.agent.system import System
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust.encoding import sha256

KEPT = 3
LOOK = 0.2
"""Seconds between two looks at a bundle on trial."""
HELD = 2.0
"""Seconds for which it has to work with its units."""


class BundleUpdate:
    """Keeps a node on the bundle that the manifest names."""

    def __init__(self, system: System, seed: Seed) -> None:
        self._host, self._manager = system.host, system.units
        self._runners = system.bundle_units
        self._trials = BundleTrials(system.host, system.trial_watch)
        self.running = running(self._host) or seed.bundle
        """SHA-256 of the bundle that we run."""

    def needed(self, digest: str) -> bool:
        """Whether the manifest names another bundle than the one we run."""
        return digest != self.running

    @property
    def on_trial(self) -> bool:
        """Whether the bundle that we run has to show that it works."""
        trial = self._trials.current
        return trial is not None and trial.bundle == self.running

    def renew(self, known: HighestManifest, urls: Sequence[str], stop: threading.Event) -> None:
        """Fetches a manifest's bundle, checks that it starts here, puts it in place and restarts
        into it, on trial (:mod:`mesh.agent.bundle_trial`). Raises :class:`NotApplied` if it does
        not start, or did not work before; the old one continues then."""
        digest, manifest = known.manifest.bundle, known.envelope.digest
        if reason := self._trials.refused(manifest):
            raise NotApplied(reason)
        path = f"{file_paths.BUNDLES}/{digest}.pyz"
        content = self._host.read(path)
        if content is None or sha256(content) != digest:
            self._host.write(path, self._fetched(digest, urls), 0o644)
        try:
            shown = self._host.must("python3", path, "check", timeout=60)
        except CommandFailed as error:
            self._host.remove(path)
            raise NotApplied(f"bundle {digest[:12]}: does not start here: {error}") from None
        tried = CAPABILITY in shown.split() and running(self._host) is not None
        try:
            if tried:
                self._trials.begin(digest, self.running, manifest, self._others())
            self._point_to(digest)
        except (CommandFailed, OSError) as error:
            self._trials.end()
            if isinstance(error, OSError):
                raise
            raise NotApplied(f"bundle {digest[:12]}: its trial does not begin: {error}") from None
        log.info("bundle", sha256=digest)
        if not tried:
            self._restart(self._others())
        # The supervisor starts the agent of the new one.
        stop.set()

    def prove(self, shown: Callable[[], bool], stop: threading.Event) -> None:
        """Ends the trial of our bundle once our agent is ``shown`` to work, for a while, and the
        other units run with the bundle as well. They are restarted when the agent works."""
        trial = self._trials.current
        if trial is None:
            return
        if trial.bundle != self.running:
            # It was cut short before the new bundle was in place.
            self._trials.end()
            return
        while not shown():
            if stop.wait(LOOK):
                return
        units = frozenset(trial.units)
        self._restart(units)
        since = time.monotonic()
        while time.monotonic() - since < HELD:
            if not (shown() and self._manager.active(trial.units) >= units):
                since = time.monotonic()
            if stop.wait(LOOK):
                return
        self._trials.end()
        log.info("bundle-works", sha256=self.running)

    def _fetched(self, digest: str, urls: Sequence[str]) -> bytes:
        reasons: list[str] = []
        for url in urls:
            try:
                with Client(url, timeout=10.0) as client:
                    answer = client.ask("GET", f"{paths.BUNDLE}/{digest}", limit=paths.MAX_BUNDLE)
            except Unreachable as error:
                reasons.append(str(error))
                continue
            if answer.ok and sha256(answer.body) == digest:
                return answer.body
            reasons.append(f"{url}: {answer.why() if not answer.ok else 'another bundle'}")
        raise Unreachable("; ".join(reasons) or "no registry")

    def _point_to(self, digest: str) -> None:
        point_to(self._host, digest)
        folder = self._host.path(file_paths.BUNDLES)
        held = sorted(folder.glob("*.pyz"), key=lambda file: file.stat().st_mtime)
        for old in held[:-KEPT]:
            if old.stem not in (digest, self.running):
                old.unlink(missing_ok=True)

    def _others(self) -> frozenset[str]:
        """The other units that run the bundle here."""
        return self._manager.active(self._runners)

    def _restart(self, units: frozenset[str]) -> None:
        try:
            for unit in sorted(units):
                self._manager.restart(unit)
        except CommandFailed as error:
            # The bundle is in place, and the unit is started again by who keeps it running.
            log.warning("not-restarted", reason=error)
