"""``mesh hold`` and ``mesh unhold``: work on a node by hand, undisturbed for a while."""

from __future__ import annotations

import re
import time
from typing import Annotated

import typer

from mesh.cli.exits import ExitCode
from mesh.cli.orders import Chosen, InvalidOrder, OperatorSession, Wait, as_operator, no_report
from mesh.cli.working_copy import STACK
from mesh.publish.hold import Holds, held_until
from mesh.spec.problems import Problem, shown
from mesh.trust.documents import MAX_HOLD, HoldOrder
from mesh.trust.encoding import moment

WAIT = 15
"""Seconds; nodes apply a hold within one."""
DEFAULT = "30m"
SHORTEST = 10
"""Seconds."""
_UNITS = {"s": 1, "m": 60, "h": 3600}

Node = Annotated[str, typer.Argument(help="Id of the node.")]


def hold(
    node: Node,
    duration: Annotated[
        str, typer.Option("--for", help="Until it ends by itself: 10s to 4h (s, m, h).")
    ] = DEFAULT,
    stack: Chosen = STACK,
    wait: Wait = WAIT,
) -> None:
    """Hold a node for a while: it repairs nothing and applies no generation.

    What is changed on it by hand stays. Checks, drains and blackholes go on, and an unconfirmed
    change is still undone.

    Given again, it sets another end. On the node itself the same is done by
    `python3 /var/lib/anycast-mesh/bundle.pyz hold 30m`, which asks no registry.

    Exit codes: 0 done; 1 ordered, no report yet; 2 nothing was ordered: no
    state, no registry, no such node, a time that cannot be, or this machine's
    clock is off.
    """
    as_operator(stack, lambda session: _hold(session, stack, node, duration, wait))


def unhold(node: Node, stack: Chosen = STACK, wait: Wait = WAIT) -> None:
    """End a hold that `mesh hold` began.

    The node repairs what differs, and applies the current generation. A hold that was begun on the
    node itself is ended there.

    Exit codes: 0 done, or it is not held; 1 ordered, no report yet, or it is
    held by a command on the node; 2 nothing was ordered: no state, no
    registry, no such node, or this machine's clock is off.
    """
    as_operator(stack, lambda session: _unhold(session, stack, node, wait))


def _hold(session: OperatorSession, stack: str, node: str, duration: str, wait: int) -> int:
    _known(session, stack, node)
    seconds = _seconds(duration)
    session.check_clock(seconds)
    until = int(time.time()) + seconds
    holds = _holds(session)
    order = holds.change([node], until)
    session.show(f"hold order {_number(order)}: {node} until {moment(until)}")
    return _wait(session, holds, order, node, "is held", wait)


def _unhold(session: OperatorSession, stack: str, node: str, wait: int) -> int:
    _known(session, stack, node)
    session.check_clock()
    holds = _holds(session)
    before = holds.order()
    if before is None or before.until(node) <= time.time():
        report = holds.reports().get(node)
        until = "" if report is None else held_until(report, time.time())
        if until:
            session.show(
                f"{node}: is held until {until} by a command on the node; end it there "
                f"(python3 /var/lib/anycast-mesh/bundle.pyz unhold)"
            )
            return ExitCode.FAILED
        session.show(f"{node}: is not held by order")
        return 0
    order = holds.change([node], 0)
    session.show(f"hold order {_number(order)}: {node} no more")
    return _wait(session, holds, order, node, "is no longer held by order", wait)


def _wait(
    session: OperatorSession, holds: Holds, order: HoldOrder | None, node: str, done: str, wait: int
) -> int:
    if not wait or order is None:
        return 0
    if holds.wait([node], order, wait, session.stopwatch(done)):
        session.show(
            f"{no_report(node, wait)}; an agent of a version without holds never fetches it"
        )
        return ExitCode.FAILED
    return 0


def _known(session: OperatorSession, stack: str, node: str) -> None:
    members = session.own.fleet.members
    if node not in members:
        raise InvalidOrder(
            f"{node}: is no node of the stack {stack}; it has {', '.join(sorted(members))}"
        )


def _holds(session: OperatorSession) -> Holds:
    own = session.own
    return Holds(
        session.pool, own.operator_key, session.network, session.identities, warn=session.show
    )


def _number(order: HoldOrder | None) -> int:
    return 0 if order is None else order.number


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,5})([smh])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not SHORTEST <= seconds <= MAX_HOLD:
        problem = Problem(
            "--for", shown(text), "is not between 10s and 4h", "write a number and s, m or h"
        )
        raise InvalidOrder(str(problem))
    return seconds
