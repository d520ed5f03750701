"""What all commands that sign an order share: the stack's state, the connections to its registries,
and the exit codes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import Console

from mesh.cli.deployed import NoState, Published, published
from mesh.cli.exits import ExitCode, failing
from mesh.hanging import Hanging
from mesh.netns import NamespaceError, inside
from mesh.plan import Plan
from mesh.publish.clocks import off
from mesh.publish.problems import age_text
from mesh.publish.refused import refusal_text
from mesh.publish.registry_pool import RegistryPool, top
from mesh.registry.client import Unreachable
from mesh.trust.documents import Refusal
from mesh.trust.encoding import moment

Chosen = Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")]
Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help="How long to wait for the nodes' reports; 0: do not wait.",
    ),
]


MAX_CLOCK_OFF = 30
"""Seconds by which this machine's clock may be off those of all registries for an order with an
end: by half of its time at most."""


class NeedsForce(Exception):
    """Why something is not done without ``--force``."""


class InvalidOrder(Exception):
    """Why something cannot be ordered at all."""


@dataclass(frozen=True)
class OperatorSession:
    """The operator of a deployed stack, with connections to its registries. ``network`` is the name
    in the orders, ``identities`` are its members' keys by node. ``show`` prints one line."""

    own: Published
    pool: RegistryPool
    network: str
    identities: Mapping[str, str]
    show: Callable[[str], None]
    refused: dict[str, Refusal] = field(default_factory=dict)
    """By node: the orders that nodes report as refused."""

    @property
    def plan(self) -> Plan:
        """The published plan; :class:`NoState` where another version wrote it."""
        known = self.own.known_plan()
        if known is None:
            raise NoState(
                "the plan in the stack's state is of another version of this program: use that "
                "one, or publish with this one first (pulumi up)"
            )
        return known

    def check_clock(self, seconds: int = 2 * MAX_CLOCK_OFF) -> None:
        """Raises :class:`InvalidOrder` where this machine's clock is too far off for an order that
        ends after so many seconds: its nodes might never apply it, and entries that are in force
        would be left out of it as ended."""
        away = off(self.pool.ahead)
        if abs(away) > min(seconds / 2, MAX_CLOCK_OFF):
            raise InvalidOrder(f"{clock_text(away)}; nothing is ordered")

    def refuses(self, node: str, refusal: Refusal) -> None:
        """Show that a node refuses an order, and why."""
        self.refused[node] = refusal
        self.show(refusal_text(node, refusal))

    def outcome(self, missing: Collection[str], wait: int) -> int:
        """The exit code of a wait that ended with these nodes missing; shows who did not report."""
        silent = [node for node in missing if node not in self.refused]
        if silent:
            self.show(no_report(", ".join(silent), wait))
        if len(silent) < len(missing):
            return ExitCode.NODE_REFUSES
        return ExitCode.FAILED if silent else ExitCode.DONE

    def stopwatch(self, done: str) -> Callable[[str], None]:
        """Shows of each node what it has ``done``, and how long after now."""
        began = time.monotonic()
        return lambda node: self.show(f"{node}: {done}, after {time.monotonic() - began:.1f} s")


def clock_text(ahead: float) -> str:
    """That this machine's clock is so many seconds ahead of the registries', or behind."""
    now, side = time.time(), "ahead of" if ahead > 0 else "behind"
    return (
        f"this machine's clock is {age_text(abs(ahead))} {side} the registries': "
        f"{moment(now)} here, {moment(now - ahead)} there. What is ordered ends by the nodes' "
        f"clocks: set the clock of this machine (timedatectl)"
    )


def no_report(names: str, wait: int) -> str:
    """That these nodes did not report within ``wait`` seconds that they follow an order."""
    return (
        f"{names}: no report within {wait} s; the order stays active and is applied when the node "
        f"fetches it (mesh status)"
    )


def as_operator(stack: str, work: Callable[[OperatorSession], int]) -> None:
    """Do the work, and end with its exit code, or with the code of the error."""
    with (
        failing(NeedsForce, code=ExitCode.REFUSED),
        failing(InvalidOrder, NoState, NamespaceError, Unreachable, code=ExitCode.UNUSABLE),
    ):
        own = published(stack)

        def inside_it() -> int:
            with _session(own) as session:
                return work(session)

        code = inside(own.namespace, inside_it)
    if code:
        raise typer.Exit(code)


@contextmanager
def _session(own: Published) -> Iterator[OperatorSession]:
    pool = RegistryPool(own.operator_key, own.registries)
    console = Console(highlight=False, soft_wrap=True)
    try:
        network, manifests = own.fleet.network, pool.manifests().values()
        highest = top(manifests, network)
        if highest is None and manifests:
            held = ", ".join(sorted({manifest.network for _, manifest in manifests}))
            raise NoState(
                f"the registries hold a generation of the network {held}, and this stack's is "
                f"{network}: use the stack of that network, or replace the registries' servers "
                f"(mesh replace <node>)"
            )
        if highest is None:
            why = "; ".join(f"{node}: {reason}" for node, reason in sorted(pool.reasons.items()))
            raise NoState(f"no registry answers, or holds a generation: {why or 'none is known'}")
        if highest[1].retired:
            raise NoState("the network is taken down: every node has withdrawn for good")
        identities = {node: member.identity for node, member in own.fleet.members.items()}
        yield OperatorSession(
            own, pool, highest[1].network, identities, lambda line: console.print(Hanging(line))
        )
    finally:
        pool.close()
