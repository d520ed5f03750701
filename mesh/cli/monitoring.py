"""``mesh monitoring``: files for a Prometheus and a Grafana of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mesh.cli.exits import fail
from mesh.cli.offline import Root, Stack, plan_of_stack, write
from mesh.plan import Monitoring, Plan, Receiver
from mesh.render import monitors
from mesh.spec import Problem
from mesh.spec.ports import ALERTMANAGER

app = typer.Typer(
    help="Metrics, alerts and dashboards for a Prometheus of your own.",
    no_args_is_help=True,
    add_completion=False,
)

EXAMPLE = (
    Receiver("people", "webhook", ("critical", "warning"), secret=True),
    Receiver("watchdog", "webhook", (), secret=True),
)
"""Whom alerts reach in an example: their addresses are in files."""


@app.callback()
def _group() -> None:
    """Without it, the one command would have no name."""


@app.command()
def config(
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Folder for the files.", file_okay=False)
    ],
    alertmanager: Annotated[
        list[str] | None,
        typer.Option(
            "--alertmanager",
            metavar="HOST:PORT",
            help="An Alertmanager to tell; may be repeated; the one beside Prometheus if unsaid.",
        ),
    ] = None,
    runbooks: Annotated[
        str,
        typer.Option(metavar="URL", help="Where the page Monitoring is, for links in alerts."),
    ] = monitors.RUNBOOKS,
    stack: Stack = "prod",
    root: Root = None,
) -> None:
    """Write what a Prometheus of your own needs: targets, rules, and dashboards.

    Prometheus asks the nodes at their tunnel addresses: it runs on a node, or on a machine
    that reaches these. alertmanager.yml tells the receivers of mesh:monitoring, or is an
    example without them. No file holds a secret.

    Exit codes: 0 they are written; 1 as of `mesh plan`, or the network has no
    looking glass to ask.
    """
    made = plan_of_stack(stack, root)
    if made.glass is None:
        reason = "no node has a looking glass, which gives the metrics"
        fail(str(Problem("mesh:glass", "off", reason, "switch it on, at a port that is free")))
    tell = tuple(alertmanager or [f"localhost:{ALERTMANAGER}"])
    found = files(made, tell, runbooks)
    for name, text in found.items():
        write(out / name, text)
    typer.echo(
        f"{out}: {len(found)} files, for {len(made.with_glass())} nodes at port {made.glass.port}: "
        f"{', '.join(found)}"
    )


def files(plan: Plan, alertmanagers: tuple[str, ...], runbooks: str) -> dict[str, str]:
    """The files by their names in the folder."""
    targets = [monitors.target(plan, node) for node in plan.with_glass()]
    boards = monitors.dashboards()
    return {
        "prometheus.yml": monitors.prometheus(plan, targets, alertmanagers),
        "rules.yml": monitors.rules(runbooks),
        "alertmanager.yml": monitors.alertmanager(_told(plan)),
        **{f"dashboards/{name}": text for name, text in boards.items()},
    }


def _told(plan: Plan) -> Plan:
    """The plan with receivers for example, where it has none."""
    if plan.monitoring is not None and plan.monitoring.receivers:
        return plan
    return replace(plan, monitoring=Monitoring((), EXAMPLE, EXAMPLE[1].name, 15))
