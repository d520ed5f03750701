"""What the commands have in common that sign an order: the stack's state, the way to its
registries, and what an exit code says."""

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
from mesh.discovery.client import Unreachable
from mesh.infra.dynamic.documents import read_plan
from mesh.plan import Plan
from mesh.publish.desk import Desk
from mesh.publish.namespace import NoWayIn, inside

NOT_YET = 1
"""Exit code where the order stands and some node has not said in time that it obeys it."""
REFUSED = 3
"""Exit code of what is done by force only."""

Chosen = Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")]
Wait = Annotated[
    int,
    typer.Option("--wait", min=0, help="Seconds to wait for the nodes' word; 0: order, and go."),
]


class Refusal(Exception):
    """What is not done unless it is forced, and why."""


class Unfit(Exception):
    """What cannot be done at all, and why."""


@dataclass(frozen=True)
class Office:
    """The operator of a deployed stack at the desk. ``network`` is the name that orders carry,
    ``identities`` are its members' keys by node."""

    own: Published
    desk: Desk
    network: str
    identities: Mapping[str, str]
    say: Callable[[str], None]

    @property
    def plan(self) -> Plan:
        """What was published; :class:`NoState` where another version has written it."""
        try:
            return read_plan(self.own.plan)
        except ValidationError:
            raise NoState(
                "the plan in the stack's state is of another version of this program: use that "
                "one, or publish with this one first (pulumi up)"
            ) from None

    def edges(self) -> frozenset[str]:
        """The nodes with upstreams; all of them where the plan cannot be read."""
        try:
            return frozenset(node.id for node in self.plan.nodes if node.upstreams)
        except NoState:
            return frozenset(self.own.fleet.members)

    def no_word(self, names: str, wait: int) -> int:
        """Says that these nodes have not spoken in time; the exit code."""
        self.say(
            f"{names}: no word within {wait} s; the order stands, and is obeyed as soon as it is "
            f"read there (mesh status)"
        )
        return NOT_YET

    def stopwatch(self, said: str) -> Callable[[str], None]:
        """Says of each node that it has obeyed, and after how long from now."""
        began = time.monotonic()
        return lambda node: self.say(f"{node}: {said}, after {time.monotonic() - began:.1f} s")


def at_the_desk(stack: str, work: Callable[[Office], int]) -> None:
    """Does the work, and ends with its exit code, or with the one of what went wrong."""
    try:
        own = published(exported(stack))

        def inside_it() -> int:
            with _office(own) as office:
                return work(office)

        code = inside(own.namespace, inside_it)
    except Refusal as refusal:
        _fail(str(refusal), REFUSED)
    except (Unfit, NoState, NoWayIn, Unreachable) as error:
        _fail(str(error), UNUSABLE)
    if code:
        raise typer.Exit(code)


@contextmanager
def _office(own: Published) -> Iterator[Office]:
    desk = Desk(own.operator_key, own.registries)
    console = Console(highlight=False, soft_wrap=True)
    try:
        highest = desk.highest()
        if highest is None:
            why = "; ".join(f"{n}: {words}" for n, words in sorted(desk.reasons.items()))
            raise NoState(f"no registry answers, or holds a generation: {why or 'none is known'}")
        if highest[1].retired:
            raise NoState("the network is taken down: every node has withdrawn for good")
        identities = {node: member.identity for node, member in own.fleet.members.items()}
        yield Office(
            own, desk, highest[1].network, identities, lambda line: console.print(escape(line))
        )
    finally:
        desk.close()


def _fail(reason: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{escape(reason)}[/]")
    raise typer.Exit(code)
