"""``mesh region``: a whole region off the Internet in one order, and back."""

from __future__ import annotations

from typing import Annotated

import typer

from mesh.cli.drain import WAIT, DrainWait, Yes, drains
from mesh.cli.orders import Chosen, InvalidOrder, OperatorSession, Wait, as_operator
from mesh.cli.working_copy import STACK

app = typer.Typer(
    help="Take a whole region off the Internet, and bring it back.",
    no_args_is_help=True,
    add_completion=False,
)

Region = Annotated[str, typer.Argument(help="Id of the region, as in the stack file.")]


@app.command()
def withdraw(
    region: Region,
    stack: Chosen = STACK,
    force: Annotated[
        bool, typer.Option("--force", help="Even if no other node announces.")
    ] = False,
    yes: Yes = False,
    wait: DrainWait = None,
) -> None:
    """Withdraw a region: all its edges drain, by one order, until `mesh region announce`.

    Nodes of the region without an upstream announce nothing, and go on serving through other
    regions' edges.

    A prefix that only these nodes are planned to announce goes off the Internet
    with them: the command names it, and asks once.

    Exit codes: 0 done; 1 ordered, no report yet, or nobody agreed; 2 nothing
    was ordered: no state, no registry, or no region that announces; 3 refused here, for no
    other node announces some prefix in effect; 4 ordered, and a node refuses
    the order.
    """
    as_operator(
        stack,
        lambda session: drains(session).drain(_edges(session, stack, region), force, wait, yes),
    )


@app.command()
def announce(region: Region, stack: Chosen = STACK, wait: Wait = WAIT) -> None:
    """Bring a withdrawn region back: all its edges, those that were drained one by one too.

    Exit codes: 0 done; 1 ordered, and not all of them announce all their
    prefixes yet; 2 nothing was ordered: no state, no registry, or no region
    that announces; 4 ordered, and a node refuses the order.
    """
    as_operator(
        stack, lambda session: drains(session).undrain(_edges(session, stack, region), wait)
    )


def _edges(session: OperatorSession, stack: str, region: str) -> list[str]:
    """The members of the network that announce in that region."""
    nodes = [node for node in session.plan.nodes if node.id in session.identities]
    regions = sorted({node.region for node in nodes})
    if region not in regions:
        raise InvalidOrder(
            f"{region}: is no region of the stack {stack} with a node in it; it has "
            f"{', '.join(regions)}"
        )
    found = [node.id for node in nodes if node.region == region and node.upstreams]
    if not found:
        raise InvalidOrder(f"{region}: none of its nodes has an upstream, so it announces nothing")
    return found
