"""Time from the agent's decision to withdraw until an upstream has read the withdrawal, on a whole
edge, compared with a bare BIRD that gets `disable` for the route's protocol, the lower limit.

Both have the sessions of the rendered configuration, with MD5 and multihop; the agent is the node's
own code in this process. Each turn withdraws and announces again by each method.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

from mesh.agent import file_paths
from mesh.agent.host import Host
from tests.kit.bgp.attributes import Route
from tests.kit.bgp.messages import Update
from tests.kit.edge.whole import UPSTREAM_ASN, UPSTREAMS, Upstream, WholeEdge
from tests.kit.machine import BIRDS, IMAGES
from tests.kit.wait import until

TURNS = 200
TABLE = 100_000
GOAL = 20  # milliseconds


@dataclass(frozen=True, slots=True)
class Noting(Host):
    """The node; it records when its agent begins to write the announce state for BIRD."""

    times: list[float] = field(default_factory=list)

    def write(
        self, absolute: str, content: bytes, mode: int, gid: int = 0, *, flush: bool = True
    ) -> None:
        """Writes as a node does."""
        if absolute == file_paths.ANNOUNCE:
            self.times.append(time.monotonic())
        Host.write(self, absolute, content, mode, gid, flush=flush)


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds of each withdrawal, of both families.

    ``decided``: since the agent began to write the announce state. ``ordered``: since it got the
    order, before it removed its service addresses. ``bare``: since `disable` was sent to BIRD.
    """

    decided: list[float] = field(default_factory=list)
    ordered: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    for version in BIRDS:
        with _edge(version) as (edge, host):
            turns = TURNS if version == IMAGES else TURNS // 4
            yield from _named(f"BIRD {version}", _turns(edge, host, turns))
    with _edge(IMAGES) as (edge, host):
        base = int(IPv4Address("11.0.0.0"))
        prefixes = [f"{IPv4Address(base + 256 * n)}/24" for n in range(TABLE)]
        hop = IPv4Address(UPSTREAMS[4])
        like = Route(prefixes[0], (UPSTREAM_ASN, 3356, 15169), hop)
        edge.upstreams[4].speaker.announce_all(like, prefixes)
        until(lambda: edge.imports(prefixes[-1]), 60, "the table is there")
        yield from _named(f"{TABLE:,} routes imported", _turns(edge, host, TURNS // 4))


def _named(what: str, taken: Taken) -> Iterator[tuple[str, float, str]]:
    name = f"withdraw → upstream gone, {what}"
    ratio = statistics.median(taken.decided) / statistics.median(taken.bare)
    yield f"{name}: p50", statistics.median(taken.decided), "ms"
    yield f"{name}: p99 (goal {GOAL})", _p99(taken.decided), "ms"
    yield f"{name}: from the order on, p99", _p99(taken.ordered), "ms"
    yield f"{name}: a bare `disable`, p50", statistics.median(taken.bare), "ms"
    yield f"{name}: a bare `disable`, p99", _p99(taken.bare), "ms"
    yield f"{name}: p50 over the bare one's", ratio, "x"


def _p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.99 * len(values)))]


@contextmanager
def _edge(version: str) -> Iterator[tuple[WholeEdge, Noting]]:
    """An edge in service, its upstreams called."""
    with tempfile.TemporaryDirectory() as folder:
        edge = WholeEdge(Path(folder), version)
        try:
            machine = edge.machine
            machine.host = host = Noting(machine.host.root, machine.host.prefix)
            machine.start_bird()
            edge.join()
            for upstream in edge.upstreams.values():
                upstream.call()
            edge.start_agent()
            yield edge, host
        finally:
            edge.close()


def _turns(edge: WholeEdge, host: Noting, turns: int) -> Taken:
    """Withdraws and announces again so many times, by each method."""
    taken = Taken()
    agent, bird = edge.agent, edge.machine.bird
    assert agent is not None
    # Without checks a service is up at once, and nothing else is measured.
    services = tuple(replace(service, checks=()) for service in edge.config.services)
    config = replace(edge.config, services=services)
    agent.watch(config)
    _back(edge)
    for _ in range(turns):
        host.times.clear()
        began = time.monotonic()
        agent.retire()
        for upstream in edge.upstreams.values():
            at = _gone(upstream)
            taken.decided.append(1000 * (at - host.times[0]))
            taken.ordered.append(1000 * (at - began))
        agent.watch(config)
        _back(edge)
        for family, upstream in edge.upstreams.items():
            began = time.monotonic()
            bird.ask(f"disable discard{family}")
            taken.bare.append(1000 * (_gone(upstream) - began))
            bird.ask(f"enable discard{family}")
        _back(edge)
    return taken


def _back(edge: WholeEdge) -> None:
    """Waits until each upstream has a route."""
    for upstream in edge.upstreams.values():
        upstream.wait_for(upstream.speaker.log.routes, "announced")


def _gone(upstream: Upstream) -> float:
    """When an upstream has read that there is no route any more."""
    log = upstream.speaker.log
    upstream.wait_for(lambda: not log.routes(), "withdrawn")
    entries = reversed(log.entries())
    return next(e.at for e in entries if isinstance(e.event, Update) and e.event.withdrawn)
