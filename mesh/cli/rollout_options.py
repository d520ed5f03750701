"""The options of commands that deploy, by which an operator chooses how one update goes out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import typer

from mesh.spec.problems import Problem, SpecError

Now = Annotated[
    bool,
    typer.Option("--now", help="No waves: all nodes take the update over at the same moment."),
]
AcceptOutage = Annotated[
    bool,
    typer.Option(
        "--accept-outage",
        help="The only node that announces a prefix may restart its sessions: it is off meanwhile.",
    ),
]
Without = Annotated[
    list[str] | None,
    typer.Option(
        "--without",
        metavar="NODE",
        help="Neither wait for this node nor hear what it says of others; may be repeated.",
    ),
]

MEANING_OF_NOW = (
    "--now: all nodes take this update over at the same moment; what it breaks, it breaks "
    "everywhere, until each node has rolled back by itself"
)


@dataclass(frozen=True, slots=True)
class RolloutOptions:
    """What was chosen for one run."""

    now: bool = False
    accept_outage: bool = False
    without: tuple[str, ...] = ()

    def check(self, nodes: Collection[str]) -> None:
        """Raises SpecError where ``--without`` names none of these nodes."""
        for node in self.without:
            if node not in nodes:
                raise SpecError([
                    Problem("--without", node, "this stack has no such node",
                            f"use one of {', '.join(sorted(nodes))}")
                ])  # fmt: skip

    def show(self) -> None:
        """Say once what is asked for, where that is dangerous."""
        if self.now:
            typer.echo(MEANING_OF_NOW)

    def variables(self) -> dict[str, str]:
        """The same for the engine's environment; nothing where nothing was chosen."""
        if self == RolloutOptions():
            return {}
        # With the operator's side of a publication: a run without choices does not wait for that.
        from mesh.publish.choices import VARIABLE, Choices

        chosen = Choices(self.now, self.accept_outage, frozenset(self.without))
        return {VARIABLE: chosen.variable()}
