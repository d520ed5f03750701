"""``mesh drain`` and ``mesh undrain``: take nodes out of service, and bring them back."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from mesh.cli.orders import NOT_YET, Chosen, Office, Refusal, Unfit, Wait, at_the_desk
from mesh.cli.working_copy import STACK
from mesh.publish.drain import Drainage, back
from mesh.publish.standing import latest
from mesh.publish.status import is_recent
from mesh.trust.documents import DrainOrder, Report

WAIT = 30
"""Seconds; draining takes about eight."""

Node = Annotated[str, typer.Argument(help="Id of the node.")]


def drain(
    node: Node,
    stack: Chosen = STACK,
    force: Annotated[bool, typer.Option("--force", help="Even the last that announces.")] = False,
    wait: Wait = WAIT,
) -> None:
    """Drain a node: it warns its upstreams, withdraws, and serves nothing until `mesh undrain`.

    It stays so over restarts and reboots. Exit 1: ordered, no word yet; 3: refused.
    """
    at_the_desk(stack, lambda office: _known(office, stack, node).drain([node], force, wait))


def undrain(node: Node, stack: Chosen = STACK, wait: Wait = WAIT) -> None:
    """Bring a drained node back into service. Exit 1: ordered, and not back yet."""
    at_the_desk(stack, lambda office: _known(office, stack, node).undrain([node], wait))


def _known(office: Office, stack: str, node: str) -> Drains:
    members = office.own.fleet.members
    if node not in members:
        raise Unfit(f"{node}: is no node of the stack {stack}; it has {', '.join(sorted(members))}")
    return drains(office)


@dataclass(frozen=True)
class Drains:
    """Draining at the desk: of one node, or of several in one order."""

    office: Office
    drainage: Drainage
    edges: frozenset[str]

    def drain(self, nodes: Collection[str], force: bool, wait: int) -> int:
        """Drains these nodes; the exit code."""
        reports = latest(self.office.desk.reports(self.office.identities))
        ordered = self.drainage.drained()
        fresh = set(nodes) - ordered
        staying = {n: r for n, r in reports.items() if n not in ordered | fresh}
        if fresh and not force and self._are_last(fresh, reports, staying):
            which = "is the last node that announces"
            if len(nodes) > 1:
                which = "are the last nodes that announce"
            raise Refusal(
                f"{', '.join(sorted(nodes))}: {which}, and the network would go off the "
                f"Internet; bring another one up first (mesh status), or insist (--force)"
            )
        names = ", ".join(sorted(nodes))
        for service in _only_here([r for n, r in reports.items() if n in nodes], staying):
            self.office.say(f"warning: {service}: nobody else serves it; it goes with {names}")
        order = self.drainage.change(drain=nodes)
        self._tell(order, sorted(set(nodes) & ordered), "drained", bool(fresh))
        if not wait:
            return 0
        heard = self.office.stopwatch("has withdrawn")
        missing = self.drainage.wait(nodes, wait, heard=heard)
        return self.office.no_word(", ".join(missing), wait) if missing else 0

    def undrain(self, nodes: Collection[str], wait: int) -> int:
        """Brings these nodes back; the exit code."""
        drained = set(nodes) & self.drainage.drained()
        order = self.drainage.change(undrain=nodes)
        self._tell(order, sorted(set(nodes) - drained), "in service", bool(drained))
        if not wait or order is None:
            return 0
        heard = self.office.stopwatch("is back")
        missing = self.drainage.wait(nodes, wait, drain=False, expected=self._is_back, heard=heard)
        if not missing:
            return 0
        reports = latest(self.office.desk.reports(self.office.identities))
        dark = [node for node in missing if node in reports and back(reports[node], order)]
        for node in dark:
            self.office.say(
                f"{node}: drained no more, but announces nothing yet; see `mesh status`"
            )
        silent = [node for node in missing if node not in dark]
        return self.office.no_word(", ".join(silent), wait) if silent else NOT_YET

    def _is_back(self, report: Report, order: DrainOrder) -> bool:
        in_service = report.health.in_service or report.node not in self.edges
        return back(report, order) and in_service

    def _are_last(
        self,
        nodes: Collection[str],
        reports: Mapping[str, Report],
        staying: Mapping[str, Report],
    ) -> bool:
        """Whether some of them announce to the Internet and none of the others does."""
        return bool(set(nodes) & self._announcers(reports)) and not self._announcers(staying)

    def _announcers(self, reports: Mapping[str, Report]) -> set[str]:
        now = time.time()
        return {
            node
            for node, report in reports.items()
            if node in self.edges and report.health.in_service and is_recent(report, now)
        }

    def _tell(
        self, order: DrainOrder | None, already: Collection[str], state: str, news: bool
    ) -> None:
        for node in already:
            self.office.say(f"{node}: is to be {state} already")
        if news and order is not None:
            self.office.say(f"drain order {order.number}: {', '.join(order.nodes) or 'nobody'}")


def drains(office: Office) -> Drains:
    """Draining at this desk."""
    known = office.own.fleet.drain
    drainage = Drainage(
        office.desk, office.own.operator_key, office.network, office.identities, known, office.say
    )
    return Drains(office, drainage, office.edges())


def _only_here(going: Collection[Report], others: Mapping[str, Report]) -> list[str]:
    """Services that these nodes serve and no other."""
    elsewhere = {name for one in others.values() for name, up in one.health.services.items() if up}
    here = {name for one in going for name, up in one.health.services.items() if up}
    return sorted(here - elsewhere)
