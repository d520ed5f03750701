"""``mesh blackhole``: blackhole an address under attack for a limited time (RTBH)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mesh.cli.exits import ExitCode
from mesh.cli.orders import (
    MAX_CLOCK_OFF,
    Chosen,
    InvalidOrder,
    NeedsForce,
    OperatorSession,
    Wait,
    as_operator,
    clock_text,
)
from mesh.cli.tables import WIDE, table
from mesh.cli.working_copy import STACK
from mesh.foreign import printable
from mesh.limits import MAX_BLACKHOLES
from mesh.plan import Address
from mesh.publish.blackhole import (
    Blackholes,
    NotAllowed,
    UnsignedBlackhole,
    judged,
    unsigned_blackholes,
)
from mesh.publish.clocks import off
from mesh.publish.order_log import latest
from mesh.publish.recent import is_recent
from mesh.spec.problems import Problem, shown
from mesh.trust.documents import MAX_REASON, Blackhole, BlackholeOrder, Refusal
from mesh.trust.encoding import moment

WAIT = 15
"""Seconds; nodes apply a blackhole within two."""
DEFAULT = "30m"
SHORTEST, LONGEST = 10, 7 * 86400
"""Seconds. Every blackhole ends, also a forgotten one."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

app = typer.Typer(
    help="Discard what is sent to an address of ours, on every node and upstream of it.",
    no_args_is_help=True,
    add_completion=False,
)

Where = Annotated[str, typer.Argument(help="An address of our own prefixes, IPv4 or IPv6.")]


@app.command()
def add(
    address: Where,
    duration: Annotated[
        str, typer.Option("--for", help="Until it ends by itself: 10s to 7d (s, m, h, d).")
    ] = DEFAULT,
    reason: Annotated[str, typer.Option("--reason", help="For those who read the list.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Even a service's address.")] = False,
    stack: Chosen = STACK,
    wait: Wait = WAIT,
) -> None:
    """Discard all packets to an address: every node drops them first of all, and the upstreams that
    offer it drop them before they reach us (RFC 7999).

    Given again, it sets another end and reason. It ends by itself, by the nodes' clocks, also where
    no registry can be reached.

    Exit codes: 0 done; 1 ordered, not every node has reported; 2 nothing was
    ordered: no state, no registry, an address, time or reason that cannot be,
    or this machine's clock is off; 3 refused here, for a service has the
    address (--force); 4 ordered, and a node refuses the order.
    """
    as_operator(stack, lambda session: _add(session, address, duration, reason, force, wait))


@app.command()
def remove(address: Where, stack: Chosen = STACK, wait: Wait = WAIT) -> None:
    """Let packets to an address through again.

    Exit codes: 0 done, or it is not discarded; 1 ordered, not every node has
    reported, or some discard it without an order, which no order ends; 2
    nothing was ordered: no state, no registry, no address, or this machine's
    clock is off; 4 ordered, and a node refuses the order.
    """
    as_operator(stack, lambda session: _remove(session, _address(address), wait))


@app.command("list")
def show(
    stack: Chosen = STACK,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Show what is discarded, until when, why, and on which nodes by their reports; and what nodes
    discard without an order, because a peer announces it as a blackhole.

    Exit codes: 0 it is shown; 2 neither state nor registry can be read.
    """
    as_operator(stack, lambda session: _show(session, as_json))


def _add(
    session: OperatorSession, text: str, duration: str, reason: str, force: bool, wait: int
) -> int:
    address, seconds, why = _address(text), _seconds(duration), _reason(reason)
    session.check_clock(seconds)
    blackholes = _blackholes(session)
    try:
        verdict = judged(session.plan, address, force=force)
        for warning in verdict.warnings:
            session.show(f"warning: {warning}")
        entry = Blackhole(address, int(time.time()) + seconds, why, verdict.forced)
        order = blackholes.add(entry)
    except NotAllowed as error:
        if error.forcible:
            raise NeedsForce(str(error)) from None
        raise InvalidOrder(str(error)) from None
    session.show(f"blackhole order {order.number}: {address} until {moment(entry.until)}")
    if not wait:
        return 0
    clock = session.stopwatch("discards it")
    missing = blackholes.wait(
        lambda: blackholes.add(entry), session.identities, wait, clock, session.refuses
    )
    return session.outcome(missing, wait)


def _remove(session: OperatorSession, address: Address, wait: int) -> int:
    session.check_clock()
    blackholes = _blackholes(session)
    before = blackholes.order()
    if address not in {entry.address for entry in _in_force(before)}:
        unsigned = [one for one in _unsigned(session, before) if address in one.addresses]
        session.show(f"{address}: is not {'ordered to be ' if unsigned else ''}discarded")
        for one in unsigned:
            session.show(_unsigned_text(one))
        return ExitCode.FAILED if unsigned else 0
    order = blackholes.remove(address)
    number = 0 if order is None else order.number
    session.show(f"blackhole order {number}: {address} no more")
    if not wait:
        return 0
    clock = session.stopwatch("lets it through")
    missing = blackholes.wait(
        lambda: blackholes.remove(address), session.identities, wait, clock, session.refuses
    )
    return session.outcome(missing, wait)


def _show(session: OperatorSession, as_json: bool) -> int:
    blackholes = _blackholes(session)
    order = blackholes.order()
    reports = {} if order is None else blackholes.reports()
    obeyed = frozenset() if order is None else blackholes.obeyed(order, reports)
    refused = {} if order is None else blackholes.refused(order, reports.values())
    entries, now = _in_force(order), time.time()
    unsigned = _unsigned(session, order)
    if as_json:
        found = document(order, sorted(session.identities), obeyed, refused, unsigned, now)
        typer.echo(json.dumps(found, indent=2))
        return 0
    if abs(away := off(session.pool.ahead)) > MAX_CLOCK_OFF:
        session.show(f"warning: {clock_text(away)}")
    for one in unsigned:
        session.show(_unsigned_text(one))
    if not entries:
        session.show("nothing is ordered to be discarded" if unsigned else "nothing is discarded")
        return 0
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    nodes = f"{len(obeyed & session.identities.keys())} of {len(session.identities)}"
    console.print(table_of(entries, nodes, now))
    for node, refusal in refused.items():
        session.refuses(node, refusal)
    missing = sorted(session.identities.keys() - obeyed - refused.keys())
    if missing:
        session.show(f"no report yet: {', '.join(missing)}")
    return 0


def document(
    order: BlackholeOrder | None,
    nodes: Iterable[str],
    obeyed: Collection[str],
    refused: Mapping[str, Refusal],
    unsigned: Iterable[UnsignedBlackhole],
    now: float,
) -> dict[str, Any]:
    """The result as JSON; ``now`` is seconds since the epoch."""
    return {
        "number": 0 if order is None else order.number,
        "blackholes": [
            {
                "address": str(entry.address),
                "until": moment(entry.until),
                "seconds_left": max(0, round(entry.until - now)),
                "reason": entry.reason,
                "forced": entry.forced,
            }
            for entry in (() if order is None else order.in_force(now))
        ],
        "obeyed": {node: node in obeyed for node in nodes},
        "refused": {node: refusal.reason for node, refusal in refused.items()},
        "heard": [
            {
                "addresses": [str(address) for address in one.addresses],
                "nodes": one.nodes,
                "from": one.mates,
            }
            for one in unsigned
        ],
    }


def table_of(entries: Iterable[Blackhole], nodes: str, now: float) -> Table:
    """The blackholes as a table; ``nodes`` is how many have applied them, ``now`` seconds since the
    epoch. A reason takes what is left of 80 columns."""
    rows = table("address", "until", "left", "nodes", "reason")
    for entry in entries:
        rows.add_row(
            f"{entry.address}{' (forced)' if entry.forced else ''}",
            moment(entry.until),
            f"{max(0, round(entry.until - now))} s",
            nodes,
            escape(entry.reason),
        )
    return rows


def _unsigned(
    session: OperatorSession, order: BlackholeOrder | None
) -> tuple[UnsignedBlackhole, ...]:
    """What nodes discard now without an order."""
    reports, now = latest(session.pool.reports(session.identities)).values(), time.time()
    return unsigned_blackholes((one for one in reports if is_recent(one, now)), order, now)


def _unsigned_text(one: UnsignedBlackhole) -> str:
    """The warning about a blackhole without an order. A report is as trustworthy as its node, so a
    single node that reports it may be the broken one."""
    addresses, nodes = ", ".join(map(str, one.addresses)), " and ".join(one.nodes)
    peers = " or ".join(one.mates)
    text = (
        f"warning: received, not ordered: {addresses}: discarded at {nodes}, as announced by "
        f"{peers}. No order ends it: it ends when {peers} withdraws it or is replaced. "
    )
    if len(one.nodes) == 1:
        peers = f"{peers} or {nodes}"
    return text + (
        f"Unless it was ordered or removed in the last seconds, {peers} is broken or "
        f"compromised: see `mesh status`, then `mesh replace` that one"
    )


def _blackholes(session: OperatorSession) -> Blackholes:
    known, own = session.own.fleet.blackhole, session.own
    return Blackholes(
        session.pool, own.operator_key, session.network, session.identities, known, session.show
    )


def _in_force(order: BlackholeOrder | None) -> tuple[Blackhole, ...]:
    return () if order is None else order.in_force(time.time())


def _address(text: str) -> Address:
    """One address; also read from the prefix of a single host."""
    try:
        if "%" in text:
            raise ValueError("a zone index is local to one machine")
        network = ip_network(text, strict=False) if "/" in text else ip_network(ip_address(text))
    except ValueError:
        raise InvalidOrder(
            _problem("address", text, "is no IP address", "name one address")
        ) from None
    if network.prefixlen != network.max_prefixlen:
        raise InvalidOrder(
            _problem(
                "address",
                text,
                "is a prefix, and orders are for single addresses",
                f"name one address, up to {MAX_BLACKHOLES} times, or withdraw the region under "
                f"attack (mesh region withdraw)",
            )
        )
    return network.network_address


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not SHORTEST <= seconds <= LONGEST:
        raise InvalidOrder(
            _problem("--for", text, "is not between 10s and 7d", "write a number and s, m, h or d")
        )
    return seconds


def _reason(text: str) -> str:
    if len(text) > MAX_REASON:
        raise InvalidOrder(
            _problem("--reason", text, f"is longer than {MAX_REASON} characters", "shorten it")
        )
    return printable(text)


def _problem(key: str, value: str, reason: str, cure: str) -> str:
    return str(Problem(key, shown(value), reason, cure))
