"""Simulated nodes: they follow orders and report to a registry at once, unless they are deaf."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from mesh.registry.client import Unreachable
from mesh.registry.registry import Current
from mesh.trust import signing
from mesh.trust.documents import Health, Refusal, Report
from mesh.trust.encoding import b64, dump
from mesh.trust.orders import DRAIN, HOLD, KINDS
from mesh.trust.signing import Purpose
from tests.kit.registry import Fleet, Live
from tests.kit.wait import repeating


@dataclass
class Nodes:
    """All nodes of the current generation. ``deaf`` ones hear no order, ``dark`` ones serve
    and announce nothing, ``alone`` maps a service to the only node that serves it, ``mute`` ones
    say nothing at all, ``refusing`` ones are of another network: they refuse what the registry
    holds, and say so. ``bend`` changes what a node says."""

    fleet: Fleet
    registry: Live
    deaf: set[str] = field(default_factory=set)
    dark: set[str] = field(default_factory=set)
    alone: dict[str, str] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)
    bend: dict[str, Callable[[Health], Health]] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)
    sequence: int = 10**15

    def __post_init__(self) -> None:
        self._turn = threading.Lock()

    def speak(self) -> None:
        """Each node's report on what its registry holds now. One round at a time: nothing that was
        so before it comes after it."""
        with self._turn:
            self._speak()

    def _speak(self) -> None:
        current = self.registry.registry.current()
        if current is None:
            return
        for node in sorted(current.manifest.nodes.keys() - self.mute):
            if current.manifest.nodes[node].identity != self.fleet.facts[node].identity:
                continue  # another network's manifest, with nodes of the same names
            report = self._report(node, current, self._health(node))
            envelope = signing.signed_document(self.fleet.identities[node], Purpose.REPORT, report)
            with self.registry.client(self.fleet.node(node)) as client:
                answer = client.ask("POST", "/api/v1/report", dump(envelope), signed=True)
            # A node that the next generation leaves out is refused from that moment on.
            assert answer.ok or self._is_over(current), answer

    def _is_over(self, current: Current) -> bool:
        """Whether the registry holds another generation by now."""
        now = self.registry.registry.current()
        return now is None or now.manifest_sha256 != current.manifest_sha256

    def ordered(self) -> dict[str, int]:
        """The number of each kind of order that the registry holds."""
        held = {kind.key: self.registry.registry.standing(kind) for kind in KINDS}
        return {key: 0 if one is None else one.order.number for key, one in held.items()}

    def _held(self, node: str) -> int:
        held = self.registry.registry.standing(HOLD)
        until = 0 if held is None else held.order.until(node)
        return until if until > time.time() else 0

    def _health(self, node: str) -> Health:
        drains = self.registry.registry.standing(DRAIN)
        hears = node not in self.deaf
        drained = hears and drains is not None and node in drains.order.nodes
        works = not drained and node not in self.dark
        services = {"web": works} | {s: works for s, only in self.alone.items() if only == node}
        if node in self.refusing:
            return self.fleet.well(node, services=services, refusals=self._refusals())
        numbers = self.ordered() if hears else {"drain": 0, "blackhole": 0, "hold": 0}
        well = self.fleet.well(
            node,
            in_service=works,
            services=services,
            drain=numbers["drain"],
            drained=drained,
            blackhole=numbers["blackhole"],
            hold=numbers["hold"],
            held=self._held(node) if hears else 0,
        )
        if not works:
            well = replace(well, announced=dict.fromkeys(well.announced or {}, ()))
        bend = self.bend.get(node)
        return well if bend is None else bend(well)

    def _refusals(self) -> tuple[Refusal, ...]:
        """Of all that the registry holds."""
        held, why = self.registry.registry, "of the network N, and this node is of M"
        orders = [(kind, held.standing(kind)) for kind in KINDS]
        current = held.current()
        assert current is not None
        number, digest = current.manifest.generation, current.manifest_sha256
        return (
            Refusal("manifest", number, digest, why),
            *(
                Refusal(kind.key, one.order.number, kind.digest(one.order), why)
                for kind, one in orders
                if one is not None and kind.key != "rollout"
            ),
        )

    def _report(self, node: str, current: Current, health: Health) -> Report:
        self.sequence = max(self.sequence + 1, time.time_ns() // 1000)
        manifest = current.manifest
        own = node not in self.refusing
        return Report(
            node=node,
            generation=manifest.generation if own else 1,
            manifest_sha256=current.manifest_sha256 if own else "0" * 64,
            nonce=manifest.nonce if own else b64(bytes(32)),
            outcome="applied",
            reason="",
            applied=manifest.generation if own else 1,
            sequence=self.sequence,
            bundle=manifest.bundle,
            health=health,
        )


@contextmanager
def speaking(nodes: Nodes) -> Iterator[Nodes]:
    """The nodes, alive until the end."""
    heard: tuple[int, dict[str, int]] | None = None

    def live() -> None:
        nonlocal heard
        current = nodes.registry.registry.current()
        news = (0 if current is None else current.manifest.generation, nodes.ordered())
        if news != heard:
            # A registry that is late in answering is asked again, as an agent does.
            with suppress(Unreachable):
                nodes.speak()
                heard = news

    nodes.speak()
    with repeating(live, 0.05):
        yield nodes
