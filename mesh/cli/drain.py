"""``mesh drain`` and ``mesh undrain``: take nodes out of service, and bring them back."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from mesh.cli.exits import ExitCode
from mesh.cli.orders import Chosen, InvalidOrder, NeedsForce, OperatorSession, Wait, as_operator
from mesh.cli.working_copy import STACK
from mesh.plan import Network, Plan
from mesh.publish.announcers import (
    Announces,
    Loss,
    PrefixAnnouncement,
    announce_state,
    announce_states,
    losses,
    missing,
    prefixes,
    updating,
)
from mesh.publish.drain import Drains, back
from mesh.publish.order_log import latest
from mesh.publish.served import serving
from mesh.trust.documents import DrainOrder, Report

WAIT = 30
"""Seconds to wait beside those for which a node lingers."""

Node = Annotated[str, typer.Argument(help="Id of the node.")]
DrainWait = Annotated[
    int | None,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help=f"How long to wait for the nodes' reports, {WAIT} s more than mesh:drain.linger "
        "unless said; 0: do not wait.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask before a prefix goes off the Internet.")
]


def drain(
    node: Node,
    stack: Chosen = STACK,
    force: Annotated[bool, typer.Option("--force", help="Even the last that announces.")] = False,
    yes: Yes = False,
    wait: DrainWait = None,
) -> None:
    """Drain a node: it withdraws, and serves nothing until `mesh undrain`.

    It warns its upstreams first, serves packets on their way for
    mesh:drain.linger seconds, and stays so over restarts and reboots.

    Refused without --force: the last node that announces a prefix in effect,
    that is, in service, with an Established upstream session on which BIRD
    exports the prefix. A node whose state is unknown is not counted. A prefix
    that only this node is planned to announce goes off the Internet with it:
    the command names it, and asks once (--yes: does not ask).

    Exit codes: 0 done; 1 ordered, no report yet, or nobody agreed; 2 nothing was ordered: no
    state, no registry or no such node; 3 refused here, see above; 4 ordered,
    and the node refuses the order.
    """
    as_operator(stack, lambda session: _known(session, stack, node).drain([node], force, wait, yes))


def undrain(node: Node, stack: Chosen = STACK, wait: Wait = WAIT) -> None:
    """Bring a drained node back into service: it announces all its prefixes again.

    Exit codes: 0 done; 1 ordered, and not back yet (it shows which session is
    down); 2 nothing was ordered: no state, no registry or no such node; 4
    ordered, and the node refuses the order.
    """
    as_operator(stack, lambda session: _known(session, stack, node).undrain([node], wait))


def _known(session: OperatorSession, stack: str, node: str) -> NodeDrain:
    members = session.own.fleet.members
    if node not in members:
        raise InvalidOrder(
            f"{node}: is no node of the stack {stack}; it has {', '.join(sorted(members))}"
        )
    return drains(session)


@dataclass(frozen=True)
class NodeDrain:
    """Drains one node, or several in one order. ``plan`` is the one in force, None where another
    version wrote it: it is unknown then which node is to announce what."""

    session: OperatorSession
    orders: Drains
    plan: Plan | None

    def drain(
        self, nodes: Collection[str], force: bool, wait: int | None, yes: bool = False
    ) -> int:
        """Drain these nodes; returns the exit code. With ``yes`` it does not ask."""
        reports = self._reports()
        ordered = self.orders.drained()
        fresh = set(nodes) - ordered
        leaving = ordered | updating(reports)
        lost = self._refuse_last(fresh, leaving, reports) if fresh and not force else ()
        names = ", ".join(sorted(nodes))
        staying = {n: r for n, r in reports.items() if n not in leaving | fresh}
        for service in _only_here([r for n, r in reports.items() if n in nodes], staying):
            self.session.show(f"warning: {service}: no other node serves it than {names}")
        if lost:
            self.session.show(_dark(lost))
            if not yes:
                typer.confirm("Drain all the same (--yes does not ask)?", abort=True)
        order = self.orders.change(drain=nodes)
        self._show_order(order, sorted(set(nodes) & ordered), "drained", bool(fresh))
        if wait is None:
            wait = WAIT + (0 if self.plan is None else self.plan.linger)
        if not wait:
            return 0
        reported = self.session.stopwatch("has withdrawn")
        refuses = self.session.refuses
        missing = self.orders.wait(nodes, wait, on_obeyed=reported, on_refused=refuses)
        return self.session.outcome(missing, wait)

    def undrain(self, nodes: Collection[str], wait: int) -> int:
        """Bring these nodes back; returns the exit code."""
        drained = set(nodes) & self.orders.drained()
        order = self.orders.change(undrain=nodes)
        self._show_order(order, sorted(set(nodes) - drained), "in service", bool(drained))
        if not wait or order is None:
            return 0
        reported = self.session.stopwatch("is back")
        away = self.orders.wait(
            nodes,
            wait,
            drain=False,
            expected=self._is_back,
            on_obeyed=reported,
            on_refused=self.session.refuses,
        )
        if not away:
            return 0
        reports = self._reports()
        undrained = [node for node in away if node in reports and back(reports[node], order)]
        for node in undrained:
            why = missing(self._effects(reports[node])) or "is not in service yet"
            self.session.show(f"{node}: no longer drained, but {why} (mesh status)")
        others = [node for node in away if node not in undrained]
        return self.session.outcome(others, wait) or ExitCode.FAILED

    def _reports(self) -> dict[str, Report]:
        return latest(self.session.pool.reports(self.session.identities))

    def _is_back(self, report: Report, order: DrainOrder) -> bool:
        """Whether a node is no longer drained and announces each prefix again."""
        if self.plan is None:
            return back(report, order) and report.health.in_service
        found = self._effects(report)
        return back(report, order) and all(one.announces is Announces.YES for one in found.values())

    def _effects(self, report: Report) -> dict[Network, PrefixAnnouncement]:
        """By prefix that a node is to announce: whether it does."""
        nodes = () if self.plan is None else self.plan.nodes
        node = next((each for each in nodes if each.id == report.node), None)
        if self.plan is None or node is None:
            return {}
        now = time.time()
        return {each: announce_state(node, each, report, now) for each in prefixes(self.plan, node)}

    def _refuse_last(
        self,
        going: Collection[str],
        leaving: Collection[str],
        reports: Mapping[str, Report],
    ) -> Collection[Loss]:
        """What no other node is planned to announce. Raises :class:`NeedsForce` where one that is
        planned would not announce a prefix, or that is unknown. ``leaving`` are nodes that an order
        drains, or that take an update over."""
        if self.plan is None:
            raise NeedsForce(
                f"{', '.join(sorted(going))}: it is unknown which other node announces: the plan "
                f"in the stack's state is of another version of this program; publish with this "
                f"one first (pulumi up), or insist (--force)"
            )
        found = announce_states(self.plan, reports, time.time())
        lost = losses(found, going, leaving)
        if others := [loss for loss in lost if not loss.only]:
            named = updating(reports) - set(going) - self.orders.drained()
            raise NeedsForce(_last(others, sorted(named)))
        return lost

    def _show_order(
        self, order: DrainOrder | None, already: Collection[str], state: str, news: bool
    ) -> None:
        for node in already:
            self.session.show(f"{node}: is {state} by order already")
        if news and order is not None:
            self.session.show(f"drain order {order.number}: {', '.join(order.nodes) or 'no node'}")


def drains(session: OperatorSession) -> NodeDrain:
    """The drain orders of this stack."""
    known = session.own.fleet.drain
    orders = Drains(
        session.pool,
        session.own.operator_key,
        session.network,
        session.identities,
        known,
        session.show,
    )
    return NodeDrain(session, orders, session.own.known_plan())


def _last(lost: Collection[Loss], taking: Collection[str]) -> str:
    """Why these nodes may not drain: the prefixes that only they announce, and the nodes that are
    not counted, those of ``taking`` because they take an update over."""
    going = sorted({node for loss in lost for node in loss.going})
    is_last = "is the last node that announces"
    if len(going) > 1:
        is_last = "are the last nodes that announce"
    unknown = dict(each for loss in lost for each in loss.unknown)
    doubts = [f"{node} ({why})" for node, why in sorted(unknown.items())]
    parts = [
        f"{', '.join(going)}: {is_last} {' and '.join(str(loss.prefix) for loss in lost)}, which "
        f"would go off the Internet"
    ]
    if doubts:
        parts.append(f"not counted, since their state is unknown: {', '.join(doubts)}")
    if taking:
        parts.append(f"not counted, since they take an update over: {', '.join(taking)}")
    parts.append("bring another one up first (mesh status), or insist (--force)")
    return "; ".join(parts)


def _dark(lost: Collection[Loss]) -> str:
    """The prefixes that go off the Internet because no other node is planned to announce them."""
    going = ", ".join(sorted({node for loss in lost for node in loss.going}))
    return (
        f"{going}: no other node announces {' and '.join(str(loss.prefix) for loss in lost)} by "
        f"the plan: off the Internet until it is undrained"
    )


def _only_here(going: Collection[Report], others: Mapping[str, Report]) -> list[str]:
    """Services that these nodes serve and no other, in one family at least."""
    elsewhere = {each for one in others.values() for each in serving(one.health)}
    here = {each for one in going for each in serving(one.health)}
    return sorted({name for name, _ in here - elsewhere})
