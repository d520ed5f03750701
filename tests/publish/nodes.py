"""Nodes as their registry hears them: they obey and report at once, unless they are deaf."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mesh.discovery.registry import Current
from mesh.trust import signing
from mesh.trust.documents import Health, Report
from mesh.trust.encoding import dump
from mesh.trust.orders import DRAIN, KINDS
from mesh.trust.signing import Purpose
from tests.discovery.live import Fleet, Live


@dataclass
class Nodes:
    """All nodes of the current generation. ``deaf`` ones hear no order, ``dark`` ones serve
    and announce nothing, ``alone`` maps a service to the only node that serves it."""

    fleet: Fleet
    registry: Live
    deaf: set[str] = field(default_factory=set)
    dark: set[str] = field(default_factory=set)
    alone: dict[str, str] = field(default_factory=dict)
    sequence: int = 10**15

    def speak(self) -> None:
        """Each node's report on what its registry holds now."""
        current = self.registry.registry.current()
        if current is None:
            return
        for node in current.manifest.nodes:
            report = self._report(node, current, self._health(node))
            envelope = signing.signed_document(self.fleet.identities[node], Purpose.REPORT, report)
            with self.registry.client(self.fleet.node(node)) as client:
                assert client.ask("POST", "/api/v1/report", dump(envelope), signed=True).ok

    def ordered(self) -> dict[str, int]:
        """The number of each kind of order that the registry holds."""
        held = {kind.key: self.registry.registry.standing(kind) for kind in KINDS}
        return {key: 0 if one is None else one.order.number for key, one in held.items()}

    def _health(self, node: str) -> Health:
        drains = self.registry.registry.standing(DRAIN)
        hears = node not in self.deaf
        drained = hears and drains is not None and node in drains.order.nodes
        works = not drained and node not in self.dark
        services = {"web": works} | {s: works for s, only in self.alone.items() if only == node}
        sessions = {"vultr4": "Established"}
        numbers = self.ordered() if hears else {"drain": 0, "blackhole": 0}
        return Health(
            works,
            services,
            sessions,
            drain=numbers["drain"],
            drained=drained,
            blackhole=numbers["blackhole"],
        )

    def _report(self, node: str, current: Current, health: Health) -> Report:
        self.sequence = max(self.sequence + 1, time.time_ns() // 1000)
        manifest = current.manifest
        return Report(
            node=node,
            generation=manifest.generation,
            manifest_sha256=current.manifest_sha256,
            nonce=manifest.nonce,
            outcome="applied",
            reason="",
            applied=manifest.generation,
            sequence=self.sequence,
            bundle=manifest.bundle,
            health=health,
        )


@contextmanager
def speaking(nodes: Nodes) -> Iterator[Nodes]:
    """The nodes, alive until the end."""
    over = threading.Event()

    def live() -> None:
        heard: tuple[int, dict[str, int]] | None = None
        while not over.wait(0.05):
            current = nodes.registry.registry.current()
            news = (0 if current is None else current.manifest.generation, nodes.ordered())
            if news != heard:
                nodes.speak()
                heard = news

    nodes.speak()
    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    try:
        yield nodes
    finally:
        over.set()
        thread.join(10)
