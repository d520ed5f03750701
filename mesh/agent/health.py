"""The health of this node for its report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network

from mesh.agent import disk
from mesh.agent.announce import Announcer
from mesh.agent.blackholes import Blackholes
from mesh.agent.changes import Changes
from mesh.agent.contents import Contents
from mesh.agent.holds import Holds
from mesh.agent.host import Host
from mesh.agent.links import RegistryLinks
from mesh.agent.logins import LoginUse
from mesh.agent.outside import Outside
from mesh.agent.refusals import Refusals
from mesh.agent.registry_port import RegistryPort
from mesh.agent.rejected_routes import RejectedRoutes
from mesh.agent.repairs import Repairs
from mesh.agent.rollout import Rollout
from mesh.agent.routing_monitor import RoutingMonitor
from mesh.agent.service_units import ServiceUnits
from mesh.agent.sessions import Sessions
from mesh.agent.state import State
from mesh.agent.tunnels import Tunnels
from mesh.agent.witness.witness import Witness
from mesh.agent.workers import Workers
from mesh.foreign import printable
from mesh.trust.documents import (
    LOGIN,
    MAX_ACCESS,
    MAX_ERROR,
    MAX_FAILURES,
    MAX_FAULTS,
    MAX_NAME,
    Health,
    Unconfirmed,
)
from mesh.trust.orders import DRAIN, HOLD


@dataclass(slots=True, kw_only=True)
class NodeHealth:
    """The sources of a node's health."""

    host: Host
    node: str
    state: State
    announcer: Announcer
    blackholes: Blackholes
    changes: Changes
    contents: Contents
    holds: Holds
    links: RegistryLinks
    login_use: LoginUse
    outside: Outside
    refusals: Refusals
    registry_port: RegistryPort
    rejected_routes: RejectedRoutes
    repairs: Repairs
    rollout: Rollout
    routing: RoutingMonitor
    service_units: ServiceUnits
    sessions: Sessions
    tunnels: Tunnels
    witness: Witness
    workers: Workers
    _obeyed: int = field(default=0, init=False)
    """The number of the drain order applied last."""

    def read(self) -> Health:
        """The current health."""
        seen = self.sessions.look()
        drain, drained = self._drain()
        held = self.state.obeyed_order(HOLD)
        return Health(
            in_service=self.announcer.announcing,
            services=self.announcer.services(),
            families=self.announcer.families(),
            sessions=seen.states,
            tls_mismatches=self.links.mismatches(),
            drain=drain,
            drained=drained,
            blackhole=self.blackholes.obeyed,
            alarms=self.routing.alarms,
            ways=self.routing.ways,
            hearsay=self.routing.hearsay,
            refused=self.rejected_routes.counts,
            bird=seen.bird,
            announced=seen.announced,
            down=seen.down,
            failures=self.announcer.failures(),
            warnings=merged(
                self.contents.warnings(), self.announcer.warnings(), self.outside.warnings
            ),
            contents=self.contents.served(),
            withheld=self.announcer.withheld(),
            witnessed=self.witness.seen(),
            tunnels=self.tunnels.problems(),
            refusals=self.refusals.standing,
            faults=self._faults(),
            clocks=self.links.clocks(),
            repairs=self.repairs.reported,
            hold=0 if held is None else held.number,
            held=self.holds.until,
            unconfirmed=self._unconfirmed(),
            logins=self.login_use.used,
            rollout=self.rollout.obeyed,
            update=self.rollout.update,
            units=dict(list(self.service_units.states().items())[:MAX_FAILURES]),
        )

    def _drain(self) -> tuple[int, bool]:
        """The number of the drain order applied last, and whether the node is drained. An order to
        drain is applied once the node has withdrawn."""
        order = self.state.obeyed_order(DRAIN)
        drained = self.announcer.drained
        if order is not None and drained == (self.node in order.nodes):
            self._obeyed = order.number
        return self._obeyed, drained

    def _unconfirmed(self) -> Unconfirmed | None:
        waiting = self.changes.waiting
        if waiting is None or not waiting.ends:
            return None
        return Unconfirmed(
            generation=waiting.generation,
            ends=waiting.ends,
            lost=tuple(one[:MAX_ERROR] for one in waiting.lost[:MAX_ACCESS]),
            networks=tuple(map(ip_network, waiting.networks[:MAX_ACCESS])),
            ports=waiting.ports[:MAX_ACCESS],
            user=waiting.user if re.match(LOGIN, waiting.user) else "root",
        )

    def _faults(self) -> dict[str, str]:
        """The faults of the node and of this agent, by name."""
        full = disk.problem(self.host)
        own = ({"disk": full} if full else {}) | self.changes.unfinished | self.state.unsaved
        found = list(own.items())
        if self.registry_port.fault:
            found.append(("registry", self.registry_port.fault))
        found += self.announcer.faults.items()
        found += [(f"thread {name}", why) for name, why in sorted(self.workers.failures.items())]
        return {name[:MAX_NAME]: printable(why)[:MAX_ERROR] for name, why in found[:MAX_FAULTS]}


def merged(*warnings: Mapping[str, str]) -> dict[str, str]:
    """Warnings as a report takes them, the first ones first: registries refuse one with more."""
    found: dict[str, str] = {}
    for each in warnings:
        for name, why in each.items():
            found[name] = f"{found[name]}; {why}" if name in found else why
    return {name: why[:MAX_ERROR] for name, why in list(found.items())[:MAX_FAILURES]}
