"""The connections to all registries, and what they show: certificates and clocks."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from mesh.agent import log
from mesh.agent.registry_client import Callbacks, RegistryLink
from mesh.agent.state import State
from mesh.agent.workers import Workers
from mesh.registry import paths
from mesh.registry.client import Client, Unreachable
from mesh.trust.documents import CLOCKS_DIFFER, MAX_CLOCKS, Manifest
from mesh.trust.orders import OrderKind
from mesh.trust.requests import Signer
from mesh.trust.signing import Signed


class RegistryLinks:
    """The connections to registries. ``callbacks`` returns those for one of them, by its URL;
    ``changed`` is called when a certificate or a clock changes."""

    def __init__(
        self,
        signer: Signer,
        state: State,
        callbacks: Callable[[str], Callbacks],
        workers: Workers,
        stop: threading.Event,
        changed: Callable[[], None],
    ) -> None:
        self._signer, self._state, self._callbacks = signer, state, callbacks
        self._workers, self._stop, self._changed = workers, stop, changed
        self._links: dict[str, RegistryLink] = {}
        self._certificates: dict[str, str | None] = {}
        self._clocks: dict[str, int] = {}
        self._lock = threading.Lock()

    def connect(self, url: str) -> None:
        """Connects to a registry, unless there is a connection."""
        if url in self._links:
            return
        try:
            link = RegistryLink(url, self._signer, self._callbacks(url), self._stop)
        except ValueError as error:
            log.warning("registry", reason=error)
            return
        self._links[url] = link
        link.start(self._workers)

    def connect_all(self, manifest: Manifest) -> None:
        """Connects to the registries of a manifest."""
        for entry in manifest.registries:
            self.connect(entry.url)

    @property
    def urls(self) -> list[str]:
        """The registries' URLs."""
        return list(self._links)

    def reachable(self) -> bool:
        """Whether some registry answers on a new connection. One on this node answers over lo,
        whatever the firewall: :mod:`registry_port` judges that before it is in force."""
        for url in self.urls:
            try:
                with Client(url, timeout=3.0) as client:
                    if client.ask("GET", paths.HEALTH, limit=paths.MAX_SMALL).ok:
                        return True
            except Unreachable:
                continue
        return False

    def answering(self) -> dict[str, bool]:
        """Whether each registry answered the last request, by URL; one that was asked nothing yet
        is left out."""
        return {link.url: link.answers for link in self._open() if link.answers is not None}

    def asked(self, kind: OrderKind[Any]) -> float:
        """When a registry last answered a request for an order of that kind (monotonic seconds);
        minus infinity if none did."""
        return max((link.asked(kind) for link in self._open()), default=-math.inf)

    def report(self, report: Signed) -> None:
        """Sends a report to all registries."""
        for link in self._open():
            link.report(report)

    def certificate_seen(self, url: str, digest: str | None) -> None:
        """Reports a certificate that is not the manifest's; it has no other effect."""
        if self._certificates.get(url) != digest:
            self._certificates[url] = digest
            for bad in self.mismatches():
                log.warning("certificate", url=bad, reason="not the one that the manifest names")
            self._changed()

    def clock_seen(self, url: str, ahead: float) -> None:
        """Reports a registry whose clock differs from ours; it has no other effect."""
        seconds = 0 if abs(ahead) < CLOCKS_DIFFER else round(ahead)
        with self._lock:
            held = self._clocks.get(url, 0)
            # The measurement is off by up to two seconds.
            if bool(seconds) == bool(held) and abs(seconds - held) < CLOCKS_DIFFER:
                return
            self._clocks[url] = seconds
        log.warning("clock", url=url, seconds_ahead=seconds)
        self._changed()

    def mismatches(self) -> tuple[str, ...]:
        """Registries whose certificate is not the manifest's."""
        highest = self._state.highest
        if highest is None:
            return ()
        return tuple(
            entry.url
            for entry in highest.manifest.registries
            if entry.tls_sha256 is not None
            and self._certificates.get(entry.url) not in (None, entry.tls_sha256)
        )

    def clocks(self) -> dict[str, int]:
        """The seconds by which our clock is ahead of a registry's, where they differ."""
        with self._lock:
            off = sorted((url, ahead) for url, ahead in self._clocks.items() if ahead)
        return dict(off[:MAX_CLOCKS])

    def _open(self) -> list[RegistryLink]:
        return list(self._links.values())
