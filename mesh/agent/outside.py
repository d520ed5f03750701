"""Asks the instances of other nodes from outside, over the tunnels to them: what a client gets.

A node's own checks reach its daemon from within. They see no firewall in front of it, and pass for
a daemon that answers other machines from a wrong address. So each instance is asked by some of the
nodes that have a tunnel to it, with its own checks. That warns, and never withdraws: the word of
one node must not take another one down.

An instance is one that BIRD has a route to, at a node that is reached by its own tunnel: one out of
service is not asked. The packets go by that tunnel, wherever the service's best route leads: they
have a mark, and the routing table for it has a default route through each tunnel.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address

from mesh.agent import log
from mesh.agent.config import Config, UnderlayNode
from mesh.agent.host import Host
from mesh.agent.routing_audit import PlannedRouting, parsed
from mesh.bird.client import Ask, Bird, BirdError
from mesh.bird.reply import Reply
from mesh.foreign import printable
from mesh.services.checks import Check
from mesh.services.checks.check import Target
from mesh.trust.documents import MAX_ERROR, MAX_FAILURES, BlackholeOrder

ROUND = 30.0
"""Seconds in which every instance is asked once."""
ASKERS = 4
"""How many nodes ask one instance."""
AGAIN = 10.0
"""Seconds until an instance is asked again that has failed."""
PATIENCE = 3.0
"""Seconds that a question may take at most: the other node may be on another continent."""
FAILURES = 2
"""How many times in a row an instance has to fail for a warning."""
TABLE = PREFERENCE = 4243
MARK = 0x4243
"""The routing table of what is asked, the preference of its rule, and the mark that leads there."""
_NEAREST = "show route table master{} primary where source = RTS_BGP"
ANSWER = 5.0
"""Seconds for BIRD's answers."""

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Instance:
    """A service's address at another node, which ``interface`` leads to."""

    service: str
    address: Address
    node: str
    interface: str

    @property
    def name(self) -> str:
        """How a warning begins: ``web at ord-vultr-1``."""
        return f"{self.service} at {self.node}"


@dataclass(frozen=True, slots=True)
class Question:
    """One check of one instance."""

    instance: Instance
    check: Check

    def problem(self) -> str:
        """Asks once; why there is no good answer."""
        one = self.instance
        target = Target(one.address, one.node, one.interface, MARK)
        patient = replace(self.check, timeout=max(self.check.within, PATIENCE))
        try:
            why = patient.problem(target)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        return why and printable(f"{self.check.subject}: {why}")


class Outside:
    """Asks other nodes' instances, for one node. ``changed`` is called when there is something new
    to report; ``ordered`` returns the operator's order of what is discarded."""

    def __init__(
        self,
        host: Host,
        bird: Bird,
        changed: Callable[[], None],
        ordered: Callable[[], BlackholeOrder | None] = lambda: None,
    ) -> None:
        self._host, self._bird, self._changed, self._ordered = host, bird, changed, ordered
        self._lock = threading.Lock()
        self._config: Config | None = None
        self._misses: dict[Question, int] = {}
        self._reasons: dict[Question, str] = {}

    def watch(self, config: Config) -> None:
        """Uses this configuration from now on."""
        with self._lock:
            self._config = config

    @property
    def warnings(self) -> dict[str, str]:
        """What did not answer well, by service and node."""
        with self._lock:
            reasons = sorted(
                (q.instance.name, why, f"IPv{q.instance.address.version}")
                for q, why in self._reasons.items()
            )
        found: dict[str, dict[str, list[str]]] = {}
        for name, why, family in reasons:
            families = found.setdefault(name, {}).setdefault(why, [])
            families += [family] * (family not in families)
        return {
            name: "; ".join(f"{', '.join(f)}: {why}" for why, f in each.items())[:MAX_ERROR]
            for name, each in list(found.items())[:MAX_FAILURES]
        }

    def run(self, stop: threading.Event) -> None:
        """Runs until ``stop`` is set."""
        while not stop.is_set():
            end = time.monotonic() + ROUND
            questions = self.questions()
            pause = ROUND / (len(questions) + 1)
            due = [(end - pause * (len(questions) - n), n) for n in range(len(questions))]
            while due:
                at, number = heapq.heappop(due)
                if stop.wait(max(0.0, at - time.monotonic())):
                    return
                again = time.monotonic() + AGAIN
                if not self.ask(questions[number]) and again < end:
                    heapq.heappush(due, (again, number))
            stop.wait(max(0.0, end - time.monotonic()))

    def questions(self) -> list[Question]:
        """What to ask in this round; forgets what is not asked any more."""
        with self._lock:
            config = self._config
        found: list[Question] = []
        if config is not None and (instances := self._instances(config)):
            self._route(config)
            checks = {service.name: service.checks for service in config.services}
            found = [
                Question(one, check)
                for one in instances
                for check in checks[one.service]
                if check.per_family
            ]
        with self._lock:
            self._misses = {q: n for q, n in self._misses.items() if q in found}
        self._show({q: why for q, why in self._reasons.items() if q in found})
        return found

    def ask(self, question: Question) -> bool:
        """Asks one question, and counts; whether there was a good answer."""
        why = question.problem()
        if why and not self._is_announced(question.instance):
            return True
        with self._lock:
            misses = self._misses[question] = self._misses.get(question, 0) + 1 if why else 0
        reasons = {q: each for q, each in self._reasons.items() if q != question}
        if misses >= FAILURES:
            # The first reason stays while it fails: each new one would be reported.
            reasons[question] = self._reasons.get(question, why)
        self._show(reasons)
        return not why

    def _show(self, reasons: dict[Question, str]) -> None:
        before = self._reasons
        if reasons == before:
            return
        with self._lock:
            self._reasons = reasons
        for question in reasons.keys() - before.keys():
            log.warning("outside", instance=question.instance.name, reason=reasons[question])
        for question in before.keys() - reasons.keys():
            log.info("outside-again", instance=question.instance.name)
        self._changed()

    def _instances(self, config: Config) -> list[Instance]:
        """The instances that this node asks, in an order that is the same each time."""
        discarded = self._discarded()
        try:
            with self._bird.asking(ANSWER) as ask:
                neighbors = {
                    version: list(direct(ask(_NEAREST.format(version)), config, version))
                    for version in (4, 6)
                }
                found = [
                    Instance(service.name, address, node.id, interface)
                    for service in config.services
                    for address in service.addresses
                    if address not in discarded
                    for node, interface in _servers(ask, address, neighbors[address.version])
                    if asks(config, service.name, node.id)
                ]
        except BirdError:
            return []
        return sorted(found, key=lambda one: (one.name, one.address.version, int(one.address)))

    def _is_announced(self, instance: Instance) -> bool:
        """Whether it still is: one that has just moved fails rightly."""
        with self._lock:
            config = self._config
        return config is not None and instance in self._instances(config)

    def _discarded(self) -> set[Address]:
        order = self._ordered()
        return set() if order is None else {e.address for e in order.in_force(time.time())}

    def _route(self, config: Config) -> None:
        """Has the mark lead through the tunnels: whatever was taken away is there again."""
        own = next((node for node in _nodes(config) if node.id == config.node), None)
        for version in (4, 6):
            source = next((a for a in own.addresses if a.version == version), None) if own else None
            if source is None:
                continue
            lines = [
                f"route replace default dev {interface} table {TABLE} metric {number} src {source}"
                for number, interface in enumerate(config.tunnels or (), 1)
            ]
            shown = self._host.run(
                "ip", f"-{version}", "rule", "show", "preference", str(PREFERENCE)
            )
            if not shown.out.strip():
                lines.append(
                    f"rule add preference {PREFERENCE} fwmark {MARK:#x} lookup {TABLE} "
                    "protocol kernel"
                )
            given = "\n".join(lines) + "\n"
            self._host.run("ip", f"-{version}", "-force", "-batch", "-", given=given)


Neighbor = tuple[UnderlayNode, str]
"""A node at the other end of a tunnel, and the tunnel's interface here."""


def _servers(ask: Ask, address: Address, neighbors: Iterable[Neighbor]) -> Iterator[Neighbor]:
    """The neighbors that announce an instance at this address."""
    command = f"show route {address}/{address.max_prefixlen} table master{address.version}"
    routes = parsed(ask(f"{command} where source = RTS_BGP all"))
    hops = {route.next_hop for route in routes}
    return (each for each in neighbors if not hops.isdisjoint(map(str, each[0].addresses)))


def direct(nearest: Reply, config: Config, version: int) -> Iterator[Neighbor]:
    """The neighbors that are nearest by their own tunnels, by BIRD's best routes of a family. What
    another one answers comes back through a third node, by a tunnel that its socket is not bound
    to: that is so where the tunnel is cut, and where the sum of two links costs less."""
    if config.underlay is None:
        return
    known = PlannedRouting(config.node, config.underlay)
    sessions = {route.prefix: route.session for route in parsed(nearest)}
    owners = {address: node for node in config.underlay.nodes for address in node.addresses}
    for mate, interface in zip(config.mates, config.tunnels or (), strict=False):
        if (node := owners.get(mate)) is None:
            continue
        address = next((each for each in node.addresses if each.version == version), None)
        way = sessions.get(f"{address}/{address.max_prefixlen}") if address else None
        if way == known.session(node.id):
            yield node, interface


def _nodes(config: Config) -> tuple[UnderlayNode, ...]:
    return () if config.underlay is None else config.underlay.nodes


def asks(config: Config, service: str, node: str) -> bool:
    """Whether this node is one of those that ask this instance: some of its neighbors, chosen by a
    digest, so that every node chooses alike and the work is spread."""
    links = () if config.underlay is None else config.underlay.links
    neighbors = [end for link in links if node in link.ends for end in link.ends if end != node]
    chosen = sorted(neighbors, key=lambda one: sha256(f"{service} {node} {one}".encode()).digest())
    return config.node in chosen[:ASKERS]
