"""Simulated nodes that take over generations when they are released, and examine each other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Literal

from mesh.publish.expected import tunnel_session
from mesh.registry.registry import Caller, Current, Refused
from mesh.trust import signing
from mesh.trust.documents import Down, Health, Manifest, Report, RolloutOrder, Update, Witnessed
from mesh.trust.encoding import dump
from mesh.trust.orders import ROLLOUT
from mesh.trust.signing import Purpose
from tests.kit.registry import Fleet, Live
from tests.kit.wait import repeating

SEEN = ("tunnel ipv4", "transit ipv6")
Bend = Callable[[Health], Health]
Outcome = Literal["applied", "failed"]


@dataclass
class Own:
    """What a node has in force, and what it has made of the registry's last manifest."""

    generation: int
    part: str
    bundle: str
    decided: str = ""
    outcome: Outcome = "applied"
    reason: str = ""
    update: Update = ""


@dataclass
class RolloutNodes:
    """The nodes of a fleet whose registry holds a generation that all have in force.

    ``rolls_back`` maps nodes to why they do not apply what is not good; ``harmed`` changes
    the health of nodes that have another part in force than at the start, ``always`` that of nodes
    whatever they have; ``lost`` names what witnesses no longer see of a harmed node; ``lies``
    changes what a node says of another. Nodes that are ``off`` say nothing since then (seconds
    since the epoch), and the others have lost their sessions with them. ``mute`` nodes say nothing
    any more, ``deaf`` ones report and apply nothing, and ``earlier`` ones have an agent that knows
    no waves. What is ``good`` is the content of that generation. ``slow`` ones apply for so many
    seconds, until they are ``ready``. The clocks of nodes that are ``behind`` are so by so many
    seconds. ``taken`` is who took over what, in order, ``reported`` the generation in force that
    each has reported last. In each of its ``rounds`` all report.
    """

    fleet: Fleet
    registry: Live
    rolls_back: dict[str, str] = field(default_factory=dict)
    harmed: dict[str, Bend] = field(default_factory=dict)
    always: dict[str, Bend] = field(default_factory=dict)
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lies: dict[str, tuple[str, str]] = field(default_factory=dict)
    off: dict[str, float] = field(default_factory=dict)
    mute: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    earlier: set[str] = field(default_factory=set)
    good: int = 5
    slow: dict[str, float] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    behind: dict[str, float] = field(default_factory=dict)
    taken: list[tuple[str, int]] = field(default_factory=list)
    reported: dict[str, int] = field(default_factory=dict)
    rounds: int = 0
    orders: list[RolloutOrder] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._turn = threading.Lock()
        current = self._current()
        manifest, digest = current.manifest, current.manifest_sha256
        self.own = {
            node: Own(manifest.generation, entry.part_sha256, manifest.bundle, digest)
            for node, entry in manifest.nodes.items()
        }
        self.began = {node: one.part for node, one in self.own.items()}
        self._sequence = 0

    def _current(self) -> Current:
        current = self.registry.registry.current()
        assert current is not None
        return current

    def _ordered(self) -> RolloutOrder | None:
        held = self.registry.registry.standing(ROLLOUT)
        return None if held is None else held.order

    def step(self) -> None:
        """Each node looks at what the registry holds, follows it, and reports. One round at a time:
        what was so before it has been told after it, and nothing older comes later."""
        with self._turn:
            self._step()

    def _step(self) -> None:
        current, order = self._current(), self._ordered()
        if order is not None and order not in self.orders:
            self.orders.append(order)
        self.rounds += 1
        for node, own in self.own.items():
            if (
                node in current.manifest.nodes
                and node not in self.off.keys() | self.mute | self.deaf
            ):
                self._follow(node, own, current, order)
        for node, own in self.own.items():
            if node in current.manifest.nodes and node not in self.off.keys() | self.mute:
                self._report(node, own, current, order)

    def _follow(self, node: str, own: Own, current: Current, order: RolloutOrder | None) -> None:
        manifest, digest = current.manifest, current.manifest_sha256
        if own.decided == digest:
            return
        released = (
            order is not None
            and order.manifest_sha256 == digest
            and (order.everyone or node in order.released)
        )
        if manifest.waves and own.generation and not released and node not in self.earlier:
            own.update = "waiting"
            return
        if node in self.slow:
            own.update = "applying"
            self.ready.setdefault(node, time.monotonic() + self.slow[node])
            if time.monotonic() < self.ready[node]:
                return
        own.decided, own.update = digest, ""
        part = manifest.nodes[node].part_sha256
        if node in self.rolls_back and self._is_bad(node, manifest):
            own.outcome, own.reason = "failed", self.rolls_back[node]
            return
        own.outcome, own.reason = "applied", ""
        own.generation, own.part, own.bundle = manifest.generation, part, manifest.bundle
        self.taken.append((node, manifest.generation))

    def _is_bad(self, node: str, manifest: Manifest) -> bool:
        entry = manifest.nodes[node]
        return (entry.sealed_in or manifest.generation) > self.good

    def changed(self, node: str) -> bool:
        """Whether a node has another part in force than at the start."""
        return self.own[node].part != self.began[node]

    def _health(self, node: str, own: Own, order: RolloutOrder | None) -> Health:
        well = self.fleet.well(node, families={"web": {"ipv4": True, "ipv6": True}})
        if self.off:
            well = self._without(self.off, node, well)
        if node in self.always:
            well = self.always[node](well)
        if node in self.harmed and self.changed(node):
            well = self.harmed[node](well)
        if node in self.earlier:
            return well
        number = 0 if order is None else order.number
        return replace(
            well,
            rollout=number,
            update=well.update or own.update,
            witnessed=self._witnessed(node, order),
        )

    def _without(self, off: Mapping[str, float], node: str, well: Health) -> Health:
        """A node's health without the sessions with others that are off."""
        own = self.fleet.plan.node(node)
        peers = {tunnel_session(link.peer): link.peer for link in own.links}
        peers |= {session.name: session.peer for session in own.ibgp}
        gone = {name: off[peer] for name, peer in peers.items() if peer in off}
        return replace(
            well,
            sessions=well.sessions | dict.fromkeys(gone, "Idle"),
            down={name: Down("", int(since)) for name, since in gone.items()},
        )

    def _witnessed(self, node: str, order: RolloutOrder | None) -> dict[str, Witnessed]:
        if order is None or order.everyone:
            return {}
        return {
            other: Witnessed(self.rounds, self._seen(node, other))
            for other, by in order.witnesses.items()
            if node in by
        }

    def _seen(self, node: str, other: str) -> tuple[str, ...]:
        gone = self.lost.get(other, ()) if self.changed(other) else ()
        if self.lies.get(node, ("", ""))[0] == other and self.own[other].generation > 5:
            gone = (self.lies[node][1],)
        return tuple(what for what in SEEN if what not in gone)

    def _report(self, node: str, own: Own, current: Current, order: RolloutOrder | None) -> None:
        self._sequence = max(self._sequence + 1, time.time_ns() // 1000)
        manifest = current.manifest
        if own.decided != current.manifest_sha256:
            manifest = replace(manifest, generation=own.generation, nonce="A" * 43 + "=")
        report = Report(
            node=node,
            generation=manifest.generation,
            manifest_sha256=own.decided or "0" * 64,
            nonce=manifest.nonce,
            outcome=own.outcome,
            reason=own.reason,
            applied=own.generation,
            sequence=self._sequence,
            bundle=own.bundle,
            health=self._health(node, own, order),
            clock=time.time_ns() // 1000 - int(self.behind.get(node, 0.0) * 1e6),
        )
        envelope = signing.signed_document(self.fleet.identities[node], Purpose.REPORT, report)
        caller = Caller("node", node, ip_address(self.fleet.places[node]))
        try:
            self.registry.registry.accept_report(caller, dump(envelope))
            self.reported[node] = own.generation
        except Refused:
            # A later generation has left the node out meanwhile.
            assert node not in self._current().manifest.nodes


@contextmanager
def living(nodes: RolloutNodes) -> Iterator[RolloutNodes]:
    """The nodes, alive until the end."""
    nodes.step()
    with repeating(nodes.step, 0.05):
        yield nodes
