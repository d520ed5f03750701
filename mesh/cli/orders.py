"""What the commands have in common that sign an order: the stack's state, the way to its
registries, and what an exit code says."""

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
from mesh.publish.refused import words
from mesh.publish.registry_pool import RegistryPool, top
from mesh.registry.client import Unreachable
from mesh.trust.documents import Refusal as Rejection

Chosen = Annotated[str, typer.Option("--stack", "-s", help="The deployed stack.")]
Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help="How long to wait for the nodes' word; 0: order, and go.",
    ),
]


class Refusal(Exception):
    """What is not done unless it is forced, and why."""


class Unfit(Exception):
    """What cannot be done at all, and why."""


@dataclass(frozen=True)
class OperatorSession:
    """The operator of a deployed stack, with connections to its registries. ``network`` is the name
    that orders carry, ``identities`` are its members' keys by node."""

    own: Published
    pool: RegistryPool
    network: str
    identities: Mapping[str, str]
    say: Callable[[str], None]
    refused: dict[str, Rejection] = field(default_factory=dict)
    """What nodes have refused by their own word."""

    @property
    def plan(self) -> Plan:
        """What was published; :class:`NoState` where another version has written it."""
        known = self.own.known_plan()
        if known is None:
            raise NoState(
                "the plan in the stack's state is of another version of this program: use that "
                "one, or publish with this one first (pulumi up)"
            )
        return known

    def refuses(self, node: str, refusal: Rejection) -> None:
        """Says that a node refuses an order, and why."""
        self.refused[node] = refusal
        self.say(words(node, refusal))

    def outcome(self, missing: Collection[str], wait: int) -> int:
        """The exit code of a wait that ended with these nodes missing; says who has not spoken."""
        silent = [node for node in missing if node not in self.refused]
        code = self.no_word(", ".join(silent), wait) if silent else 0
        return ExitCode.NODE_REFUSES if len(silent) < len(missing) else code

    def no_word(self, names: str, wait: int) -> int:
        """Says that these nodes have not spoken in time; the exit code."""
        self.say(
            f"{names}: no word within {wait} s; the order stands, and is obeyed as soon as it is "
            f"read there (mesh status)"
        )
        return ExitCode.FAILED

    def stopwatch(self, said: str) -> Callable[[str], None]:
        """Says of each node that it has obeyed, and after how long from now."""
        began = time.monotonic()
        return lambda node: self.say(f"{node}: {said}, after {time.monotonic() - began:.1f} s")


def as_operator(stack: str, work: Callable[[OperatorSession], int]) -> None:
    """Does the work, and ends with its exit code, or with the one of what went wrong."""
    with (
        failing(Refusal, code=ExitCode.REFUSED),
        failing(Unfit, NoState, NamespaceError, Unreachable, code=ExitCode.UNUSABLE),
    ):
        own = published(stack)

        def inside_it() -> int:
            with _office(own) as session:
                return work(session)

        code = inside(own.namespace, inside_it)
    if code:
        raise typer.Exit(code)


@contextmanager
def _office(own: Published) -> Iterator[OperatorSession]:
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
            why = "; ".join(f"{n}: {words}" for n, words in sorted(pool.reasons.items()))
            raise NoState(f"no registry answers, or holds a generation: {why or 'none is known'}")
        if highest[1].retired:
            raise NoState("the network is taken down: every node has withdrawn for good")
        identities = {node: member.identity for node, member in own.fleet.members.items()}
        yield OperatorSession(
            own, pool, highest[1].network, identities, lambda line: console.print(Hanging(line))
        )
    finally:
        pool.close()
