"""The agent: joins, applies what the operator signed, repairs changes, and reports.

Threads: one that applies (:mod:`generations`), one that reports (:mod:`reporting`), one that writes
the state for the looking glass (:mod:`snapshot`), two per registry (:mod:`registry_client`), one
for the announcement and one per check (:mod:`announce`), one each for blackholes, the routing
monitor, BIRD's log, the witness, repairs, log-ins, contents, the registry's port and the watchdog.
A thread that fails is restarted (:mod:`workers`).
"""

from __future__ import annotations

import math
import threading
from functools import partial

from mesh.agent import file_paths, log
from mesh.agent.announce import Announcer
from mesh.agent.announce_state import write_state, written_state
from mesh.agent.apply import Applier
from mesh.agent.blackholes import Blackholes
from mesh.agent.bundle_update import BundleUpdate
from mesh.agent.changes import Changes
from mesh.agent.config import Config
from mesh.agent.contents import Contents
from mesh.agent.generations import Generations
from mesh.agent.health import NodeHealth
from mesh.agent.holds import Holds
from mesh.agent.host import Host
from mesh.agent.joining import Joining
from mesh.agent.keys import own_keys
from mesh.agent.links import RegistryLinks
from mesh.agent.logins import LoginUse
from mesh.agent.offers import Offers
from mesh.agent.outside import Outside
from mesh.agent.parts import Parts
from mesh.agent.planned import PlannedNodes
from mesh.agent.refusals import Refusals
from mesh.agent.registry_client import Callbacks
from mesh.agent.registry_port import RegistryPort
from mesh.agent.rejected_routes import RejectedRoutes
from mesh.agent.repair import Repair
from mesh.agent.repairs import Repairs
from mesh.agent.reporting import Reports
from mesh.agent.rollout import Rollout
from mesh.agent.routing_monitor import RoutingMonitor
from mesh.agent.seed import Seed
from mesh.agent.service_units import ServiceUnits
from mesh.agent.session_details import SessionDetails
from mesh.agent.sessions import Sessions
from mesh.agent.snapshot import Snapshots
from mesh.agent.state import State
from mesh.agent.system import System
from mesh.agent.tunnels import Tunnels
from mesh.agent.witness.witness import Witness
from mesh.agent.workers import Workers
from mesh.trust import joining
from mesh.trust.encoding import Malformed, parse
from mesh.trust.orders import BLACKHOLE, HOLD, ROLLOUT
from mesh.trust.requests import Signer


class Agent:
    """One node's agent; it runs until ``stop`` is set."""

    def __init__(
        self, host: Host, seed: Seed, system: System, stop: threading.Event | None = None
    ) -> None:
        self._host, self._seed, self._system = host, seed, system
        self.stop = stop or threading.Event()
        self.failed = False
        own = own_keys(host)
        self._candidate = Signer("token", seed.node, joining.proof_private(seed.token))
        signer = Signer("node", seed.node, own.identity)
        news = threading.Event()
        changed = news.set
        self._joining = Joining(system, seed, own)
        self._state = State(host, seed.operator, self._joining.is_named)
        self._bird, manager, network = system.bird, system.units, system.network
        self._workers = Workers(self.stop, changed)
        self._changed = changed
        self._refusals = Refusals()
        self._links = RegistryLinks(
            signer, self._state, self._callbacks, self._workers, self.stop, changed
        )
        holds = Holds(host, seed.node, lambda: self._state.obeyed_order(HOLD))
        repairs = Repairs(changed, lambda: holds.active)
        self._announcer = Announcer(
            host,
            self._bird,
            network,
            changed,
            self._workers,
            repairs,
            self._is_behind,
            lambda: self._state.is_left_out,
        )
        self._blackholes = Blackholes(host, self._bird, network, changed)
        self._routing = RoutingMonitor(
            self._bird,
            changed,
            lambda: self._state.obeyed_order(BLACKHOLE),
            lambda: self._links.asked(BLACKHOLE),
        )
        self._outside = Outside(
            host, self._bird, changed, lambda: self._state.obeyed_order(BLACKHOLE)
        )
        self._rejected_routes = RejectedRoutes()
        self._witness = Witness(host, lambda: self._links.urls, changed)
        self._sessions, self._tunnels = Sessions(self._bird), Tunnels(host)
        self._service_units = ServiceUnits(host)
        self._login_use = LoginUse(host, system.logins, system.access, changed)
        planned = PlannedNodes(host, seed.registry_port, self._candidate)
        self._registry_port = RegistryPort(host, planned, changed, lambda: holds.active)
        rollout = self._rollout = Rollout(
            seed.node, self._state, self._announcer, self._sessions.has_peer, changed
        )
        bundle_update = self._bundle_update = BundleUpdate(system, seed)
        applier = Applier(system, self._links.reachable)
        parts = Parts(signer, seed.node, own, lambda: self._links.urls)
        self._changes = Changes(applier, parts, self._state, self._watch, changed)
        self._contents = Contents(
            host,
            manager,
            self._bird,
            signer,
            self._state,
            applier,
            lambda: self._links.urls,
            lambda: holds.active,
            changed,
        )
        self._repair = Repair(
            system,
            applier,
            repairs,
            self._changes.in_force,
            lambda: holds.active,
            self._announcer.look_soon,
        )
        health = NodeHealth(
            host=host,
            node=seed.node,
            state=self._state,
            announcer=self._announcer,
            blackholes=self._blackholes,
            changes=self._changes,
            contents=self._contents,
            holds=holds,
            links=self._links,
            login_use=self._login_use,
            refusals=self._refusals,
            registry_port=self._registry_port,
            rejected_routes=self._rejected_routes,
            repairs=repairs,
            rollout=rollout,
            outside=self._outside,
            routing=self._routing,
            service_units=self._service_units,
            sessions=self._sessions,
            tunnels=self._tunnels,
            witness=self._witness,
            workers=self._workers,
        )
        self._snapshots = Snapshots(
            host=host,
            node=seed.node,
            state=self._state,
            announcer=self._announcer,
            applier=applier,
            blackholes=self._blackholes,
            bundle_update=bundle_update,
            links=self._links,
            tunnels=self._tunnels,
            details=SessionDetails(self._bird),
            outcome=lambda known: self._reports.outcome(known),
        )
        self._reports = Reports(
            seed.node,
            own.identity,
            self._state,
            self._refusals,
            bundle_update,
            self._links,
            health.read,
            news,
            self._snapshots.seen,
        )
        self._generations = Generations(
            self._state,
            self._links,
            parts,
            self._changes,
            bundle_update,
            self._registry_port,
            self._announcer,
            holds,
            self._reports,
            self._contents,
            rollout,
            self._watch,
            self.stop,
        )
        self._offers = Offers(
            seed,
            self._state,
            self._announcer,
            self._blackholes,
            self._witness,
            self._refusals,
            self._generations.look,
            changed,
        )

    @property
    def beat(self) -> float:
        """When the announcement last ran without an error (monotonic seconds); minus infinity if a
        thread has ended unexpectedly."""
        return self._announcer.beat if self._workers.alive else -math.inf

    @property
    def works(self) -> bool:
        """Whether the announcement has been shown to work (:mod:`announce`)."""
        return self._announcer.works

    @property
    def begins_well(self) -> bool:
        """Whether it runs and a registry answers it: an agent that nothing reaches could not be
        replaced any more."""
        answered = any(self._links.answering().values())
        return self._workers.alive and self._announcer.begins_well and answered

    def run(self) -> None:
        """Runs until :attr:`stop` is set."""
        # No file before the first generation, and a shorter one from bundles before draining.
        write_state(self._host, written_state(self._host))
        self._resume()
        for url in self._seed.registries:
            self._links.connect(url)
        # An interrupted change is undone while the threads run: it may take longer than the time
        # until the node withdraws. No thread reconfigures BIRD meanwhile.
        with self._bird.changing:
            for name, work in (
                ("presence", self._announcer.run),
                ("blackholes", self._blackholes.run),
                ("health", self._reports.run),
                ("snapshot", self._snapshots.run),
                ("lookout", self._routing.run),
                ("outside", self._outside.run),
                ("rejected routes", self._rejected_routes.run),
                ("witness", self._witness.run),
                ("repair", self._repair.run),
                ("log-ins", self._login_use.run),
                ("contents", self._contents.run),
            ):
                if name not in self._system.without:
                    self._workers.start(name, partial(work, self.stop))
            prove = partial(self._bundle_update.prove, lambda: self.begins_well, self.stop)
            self._workers.start("bundle", prove, lasting=False)
            if self._seed.registry:
                self._workers.start("registry port", partial(self._registry_port.run, self.stop))
            self._changes.recover()
        self._generations.follow()

    def _resume(self) -> None:
        """Continues with the state on disk, before any registry is asked."""
        # Once the registries are connected there may be a higher one.
        highest = self._state.highest
        if highest is not None:
            self._links.connect_all(highest.manifest)
        # First: a drained node must not serve again.
        self._offers.obey()
        if self._state.applied is not None:
            self._watch()
        if highest is not None:
            self._generations.resume(highest)

    def _is_behind(self) -> bool:
        """Whether no registry has said yet what is in force, or this node has yet to apply it."""
        if self._links.asked(ROLLOUT) == -math.inf:
            return True
        known = self._state.highest
        return known is not None and self._rollout.is_due(known)

    def _watch(self) -> None:
        """Uses the configuration in force."""
        content = self._host.read(file_paths.CONFIG)
        if content is None:
            return
        try:
            config = parse(Config, content)
            self._blackholes.watch(config)
            self._announcer.watch(config)
            self._routing.watch(config)
            self._outside.watch(config)
            self._witness.watch(config)
            self._sessions.watch(config)
            self._tunnels.watch(config)
            self._service_units.watch(config)
            self._snapshots.watch(config)
            self._changed()
        except Malformed as error:
            # Of an earlier version: addresses stay bound until the next generation is applied.
            log.warning("configuration", reason=error)

    def _callbacks(self, url: str) -> Callbacks:
        """For the connection to a registry."""
        return Callbacks(
            held=lambda: self._state.highest,
            ordered=self._state.order,
            is_member=lambda: self._state.is_member,
            request=self._joining.request,
            offer=self._offers.manifest,
            offer_order=self._offers.order,
            certificate=self._links.certificate_seen,
            clock=self._links.clock_seen,
            later=self._reports.newer,
            back=self._reports.again,
            superseded=lambda what: self._refusals.taken(what, url, 0),
            candidate=self._candidate,
        )
