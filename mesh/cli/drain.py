"""``mesh drain`` and ``mesh undrain``: take a node out of service, and bring it back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape

from mesh.cli.status import UNUSABLE, NoState, Published, exported, published
from mesh.cli.working_copy import STACK
from mesh.discovery.client import Unreachable
from mesh.infra.dynamic.documents import read_plan
from mesh.publish.desk import Desk
from mesh.publish.drain import Drainage, back
from mesh.publish.namespace import NoWayIn, inside
from mesh.publish.standing import latest
from mesh.publish.status import is_recent
from mesh.trust.documents import DrainOrder, Report

NOT_YET = 1
"""Exit code where the order stands and the node has not said in time that it obeys it."""
REFUSED = 3
"""Exit code where the network would go off the Internet."""
WAIT = 30
"""Seconds; draining takes about eight."""

Node = Annotated[str, typer.Argument(help="Id of the node.")]
Chosen = Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")]
Wait = Annotated[
    int,
    typer.Option("--wait", min=0, help="Seconds to wait for the node's word; 0: order, and go."),
]


def drain(
    node: Node,
    stack: Chosen = STACK,
    force: Annotated[bool, typer.Option("--force", help="Even the last that announces.")] = False,
    wait: Wait = WAIT,
) -> None:
    """Drain a node: it warns its upstreams, withdraws, and serves nothing until `mesh undrain`.

    It stays so over restarts and reboots. Exit 1: ordered, no word yet; 3: refused.
    """
    _run(stack, node, lambda place: place.drain(node, force, wait))


def undrain(node: Node, stack: Chosen = STACK, wait: Wait = WAIT) -> None:
    """Bring a drained node back into service. Exit 1: ordered, and not back yet."""
    _run(stack, node, lambda place: place.undrain(node, wait))


class Refusal(Exception):
    """What is not done unless it is forced, and why."""


@dataclass(frozen=True)
class Operator:
    """The operator at the desk: the network's members, and those of them with upstreams."""

    desk: Desk
    drainage: Drainage
    identities: Mapping[str, str]
    edges: frozenset[str]
    say: Callable[[str], None]

    def drain(self, node: str, force: bool, wait: int) -> int:
        """Drains a node; the exit code."""
        reports = latest(self.desk.reports(self.identities))
        ordered = self.drainage.drained()
        staying = {n: r for n, r in reports.items() if n not in ordered | {node}}
        if node not in ordered and not force and self._is_last(node, reports, staying):
            raise Refusal(
                f"{node}: is the last node that announces, and the network would go off the "
                f"Internet; bring another one up first (mesh status), or insist (--force)"
            )
        for service in _only_here(reports.get(node), staying):
            self.say(f"warning: {service}: nobody else serves it; it goes with {node}")
        order = self.drainage.change(drain=[node])
        self._tell(order, node, "drained", node in ordered)
        if not wait:
            return 0
        began = time.monotonic()
        if self.drainage.wait([node], wait):
            return self._no_word(node, wait)
        self.say(f"{node}: has withdrawn, after {time.monotonic() - began:.1f} s")
        return 0

    def undrain(self, node: str, wait: int) -> int:
        """Brings a node back; the exit code."""
        ordered = self.drainage.drained()
        order = self.drainage.change(undrain=[node])
        self._tell(order, node, "in service", node not in ordered)
        if not wait or order is None:
            return 0
        began = time.monotonic()
        if self.drainage.wait([node], wait, drain=False, expected=self._is_back):
            reports = latest(self.desk.reports(self.identities))
            if node in reports and back(reports[node], order):
                self.say(f"{node}: drained no more, but announces nothing yet; see `mesh status`")
                return NOT_YET
            return self._no_word(node, wait)
        self.say(f"{node}: is back, after {time.monotonic() - began:.1f} s")
        return 0

    def _is_back(self, report: Report, order: DrainOrder) -> bool:
        in_service = report.health.in_service or report.node not in self.edges
        return back(report, order) and in_service

    def _is_last(
        self, node: str, reports: Mapping[str, Report], staying: Mapping[str, Report]
    ) -> bool:
        """Whether a node announces to the Internet and none of the others does."""
        return node in self._announcers(reports) and not self._announcers(staying)

    def _announcers(self, reports: Mapping[str, Report]) -> set[str]:
        now = time.time()
        return {
            node
            for node, report in reports.items()
            if node in self.edges and report.health.in_service and is_recent(report, now)
        }

    def _tell(self, order: DrainOrder | None, node: str, state: str, already: bool) -> None:
        if already:
            self.say(f"{node}: is to be {state} already")
        elif order is not None:
            self.say(f"drain order {order.number}: {', '.join(order.nodes) or 'nobody'}")

    def _no_word(self, node: str, wait: int) -> int:
        self.say(
            f"{node}: no word within {wait} s; the order stands, and is obeyed as soon as it is "
            f"read there (mesh status)"
        )
        return NOT_YET


def _only_here(report: Report | None, others: Mapping[str, Report]) -> list[str]:
    """Services that this node serves and no other."""
    if report is None:
        return []
    elsewhere = {name for one in others.values() for name, up in one.health.services.items() if up}
    return sorted(n for n, up in report.health.services.items() if up and n not in elsewhere)


def _run(stack: str, node: str, work: Callable[[Operator], int]) -> None:
    try:
        own = published(exported(stack))
        if node not in own.fleet.members:
            members = ", ".join(sorted(own.fleet.members))
            raise NoState(f"{node}: is no node of the stack {stack}; it has {members}")

        def at_the_desk() -> int:
            with _operator(own) as operator:
                return work(operator)

        code = inside(own.namespace, at_the_desk)
    except Refusal as refusal:
        _fail(str(refusal), REFUSED)
    except (NoState, NoWayIn, Unreachable) as error:
        _fail(str(error), UNUSABLE)
    if code:
        raise typer.Exit(code)


@contextmanager
def _operator(own: Published) -> Iterator[Operator]:
    desk = Desk(own.operator_key, own.registries)
    console = Console(highlight=False, soft_wrap=True)
    try:
        highest = desk.highest()
        if highest is None:
            why = "; ".join(f"{n}: {words}" for n, words in sorted(desk.reasons.items()))
            raise NoState(f"no registry answers, or holds a generation: {why or 'none is known'}")
        if highest[1].retired:
            raise NoState("the network is taken down: every node has withdrawn for good")
        network, fleet = highest[1].network, own.fleet
        identities = {node: member.identity for node, member in fleet.members.items()}
        yield Operator(
            desk,
            Drainage(desk, own.operator_key, network, identities, fleet.drain),
            identities,
            _edges(own),
            lambda line: console.print(escape(line)),
        )
    finally:
        desk.close()


def _edges(own: Published) -> frozenset[str]:
    """The nodes with upstreams; all of them where another version has written the plan."""
    try:
        return frozenset(node.id for node in read_plan(own.plan).nodes if node.upstreams)
    except ValidationError:
        return frozenset(own.fleet.members)


def _fail(reason: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(reason)}[/]")
    raise typer.Exit(code)
