"""Writes the node's state at one moment for the looking glass and for metrics.

    reporting ──► health ──┐
    BIRD ──► details ──────┼──► snapshot.json (/run, mode 0644) ──► glass
    what others know ──────┘

The health is the one that reporting has just read. BIRD's details are asked for seldom, and at once
where a session has come up or gone down. A BIRD that is away or hangs is in the health, and what
others know is written all the same.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography import x509

from mesh.agent import file_paths, log
from mesh.agent.announce import Announcer
from mesh.agent.apply import Applier
from mesh.agent.blackholes import Blackholes
from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.config import Config
from mesh.agent.host import Host
from mesh.agent.links import RegistryLinks
from mesh.agent.reporting import Outcome
from mesh.agent.service_state import CheckState
from mesh.agent.session_details import FAMILIES, BirdDetails, SessionDetails
from mesh.agent.sessions import UP
from mesh.agent.state import HighestManifest, State
from mesh.agent.tunnels import Tunnels
from mesh.bird.client import BirdError
from mesh.foreign import printable
from mesh.glass.snapshot import (
    MAX_CHECKS,
    MAX_TUNNELS,
    PATH,
    CheckResult,
    Discarded,
    Generation,
    Snapshot,
    Tunnel,
    Versions,
)
from mesh.limits import MAX_BLACKHOLES
from mesh.trust.documents import MAX_ERROR, MAX_NAME, MAX_REASON, Health
from mesh.trust.encoding import adapter

EVERY, LEAST = 2.0, 0.25
"""Seconds between two snapshots: while nothing changes, and at least."""
DETAILS = 5.0
"""Seconds between two looks at BIRD's details, unless a session comes up or goes down."""
STALE = 30.0
"""Seconds after which a health is too old to be written under a new time: a reader has to see that
nobody reads it any more."""
MAX_URL = 128


@dataclass(slots=True, kw_only=True)
class Snapshots:
    """The sources of a node's snapshot, and the file. ``outcome`` is that of a generation, with its
    reason; None while it has none."""

    host: Host
    node: str
    state: State
    announcer: Announcer
    applier: Applier
    blackholes: Blackholes
    bundle_update: BundleUpdate
    links: RegistryLinks
    tunnels: Tunnels
    details: SessionDetails
    outcome: Callable[[HighestManifest | None], tuple[Outcome | None, str]]
    _config: Config | None = field(default=None, init=False)
    _health: Health | None = field(default=None, init=False)
    _seen: Generation | None = field(default=None, init=False)
    _read: float = field(default=0.0, init=False)
    """When the health was read (monotonic seconds)."""
    _wake: threading.Event = field(default_factory=threading.Event, init=False)
    _started: float = field(default_factory=time.time, init=False)
    _found: BirdDetails = field(default_factory=BirdDetails, init=False)
    _up: dict[str, bool] | None = field(default=None, init=False)
    """Whether each session was up at the last look at BIRD's details; None if they are unknown."""
    _looked: float = field(default=0.0, init=False)
    _certificate: tuple[bytes, float] = field(default=(b"", 0.0), init=False)
    _complaint: str = field(default="", init=False)

    def watch(self, config: Config) -> None:
        """Uses this configuration from now on."""
        self._config = config
        self.details.watch(config)

    def seen(self, health: Health) -> None:
        """Takes the health that was just read. Another one than before is written at once, and so
        is another outcome of a generation."""
        before, self._health = (self._health, self._seen), health
        self._seen, self._read = self._generation(), time.monotonic()
        if (health, self._seen) != before:
            self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Writes until ``stop`` is set, whatever fails."""
        while not stop.wait(LEAST):
            self._wake.wait(EVERY - LEAST)
            self._wake.clear()
            try:
                self.write()
                self._complaint = ""
            except Exception as error:
                # The next one may succeed: a disk has room again, or a source its file.
                self._complain(printable(f"{type(error).__name__}: {error}"))

    def write(self) -> None:
        """Writes a snapshot, while there is a health that is not too old."""
        health = self._health
        if health is not None and time.monotonic() - self._read < STALE:
            content = adapter(Snapshot).dump_json(self._snapshot(health))
            self._make_folder()
            self.host.write(PATH, content, 0o644, flush=False)

    def _make_folder(self) -> None:
        """Makes the snapshot's folder, which its reader must be able to enter."""
        folder = self.host.path(PATH).parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)

    def _complain(self, reason: str) -> None:
        if reason != self._complaint:
            self._complaint = reason
            log.warning("snapshot", reason=reason)

    def _snapshot(self, health: Health) -> Snapshot:
        found = self._look(health)
        return Snapshot(
            node=self.node,
            at=time.time(),
            agent_started=self._started,
            bird_started=found.started,
            versions=Versions(
                found.version, self.bundle_update.running, os.uname().release[:MAX_ERROR]
            ),
            generation=self._generation(),
            health=health,
            sessions=found.sessions,
            tunnels=self._tunnels(),
            checks=results(self.announcer.checks()),
            caches=found.caches,
            records=dict(found.records),
            blackholes=self._blackholes(),
            discarded_packets=self.blackholes.discarded_packets,
            prefixes=exported(self._config, health),
            registries={url[:MAX_URL]: well for url, well in self.links.answering().items()},
            certificate=self._certificate_end(),
        )

    def _look(self, health: Health) -> BirdDetails:
        """BIRD's details, as last seen; nothing while BIRD does not answer."""
        if health.bird:
            self._up, self._found = None, BirdDetails(interfaces=self._found.interfaces)
            return self._found
        now, up = time.monotonic(), {name: state == UP for name, state in health.sessions.items()}
        if up != self._up or now - self._looked >= DETAILS:
            self._up, self._looked = up, now
            # The next health says why.
            with suppress(BirdError):
                self._found = self.details.look()
        return self._found

    def _generation(self) -> Generation:
        applied, highest = self.state.applied, self.state.highest
        outcome, reason = self.outcome(highest)
        return Generation(
            applied=0 if applied is None else applied.generation,
            published=0 if highest is None else highest.number,
            outcome=outcome or "pending",
            reason=printable(reason),
            rollbacks=self.applier.rollbacks,
        )

    def _tunnels(self) -> tuple[Tunnel, ...]:
        peers = self._found.interfaces
        return tuple(
            Tunnel(
                printable(name)[:MAX_NAME],
                peers.get(name) or printable(name.removeprefix("wg-"))[:MAX_NAME],
                each.handshake,
                each.received,
                each.sent,
            )
            for name, each in list(self.tunnels.traffic.items())[:MAX_TUNNELS]
        )

    def _blackholes(self) -> tuple[Discarded, ...]:
        return tuple(
            Discarded(address, 0, signed=False)
            if entry is None
            else Discarded(address, entry.until, printable(entry.reason)[:MAX_REASON])
            for address, entry in self.blackholes.active[: 4 * MAX_BLACKHOLES]
        )

    def _certificate_end(self) -> float:
        """When this registry's certificate ends; 0 where there is none."""
        content = self.host.read(file_paths.CERTIFICATE) or b""
        if content != self._certificate[0]:
            self._certificate = (content, _end(content))
        return self._certificate[1]


def _end(pem: bytes) -> float:
    if not pem:
        return 0.0
    try:
        return max(0.0, x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp())
    except ValueError:
        return 0.0


def results(asked: Iterable[tuple[str, CheckState]]) -> tuple[CheckResult, ...]:
    """One result for each service, subject and family: of several, as at each address of a service,
    a bad one, or the one that took longest."""
    found: dict[tuple[str, str, int], CheckResult] = {}
    for service, watch in asked:
        version = watch.target.address.version if watch.check.per_family else 0
        subject, problem = watch.check.subject, watch.problem
        result = CheckResult(
            service=printable(service)[:MAX_NAME],
            subject=printable(subject)[:MAX_ERROR],
            family=FAMILIES[version == 6] if version else None,
            seconds=watch.seconds,
            good=not problem,
            why=printable(problem)[:MAX_ERROR],
        )
        key = (service, subject, version)
        if key not in found or _badness(result) > _badness(found[key]):
            found[key] = result
    return tuple(list(found.values())[:MAX_CHECKS])


def _badness(result: CheckResult) -> tuple[bool, float]:
    return not result.good, result.seconds


def exported(config: Config | None, health: Health) -> dict[str, bool]:
    """The prefixes that this node may announce, and whether BIRD exports each to an upstream."""
    upstreams = () if config is None else config.upstreams or ()
    if config is None or not upstreams:
        return {}
    families = {int(each.family[-1]) for each in upstreams}
    there = {prefix for each in (health.announced or {}).values() for prefix in each}
    own = [prefix for prefix in config.exports if prefix.version in families]
    return {str(prefix): prefix in there for prefix in own}
