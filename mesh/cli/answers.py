"""Who answers whom: every client of the lab asks every anycast service, over both families."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mesh.lab.place import place
from mesh.plan import Plan
from mesh.plan.model import Address

DEADLINE = 10.0  # seconds; the deployment has waited for the fleet, this is for stragglers
WIDE = 200  # columns of a file or a pipe: the table is not cut there
TRY = 2  # seconds for one answer


def url(address: Address) -> str:
    """Where a node says who it is."""
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"http://{host}/whoami"


def ask(namespace: Path, address: Address, deadline: float = DEADLINE) -> str | None:
    """The id of the node that answers for ``address`` in ``namespace``; None if none does."""
    inside = ["nsenter", f"--net={namespace}"]
    curl = ["curl", "--silent", "--fail", "--globoff", "--noproxy", "*", "--max-time", str(TRY)]
    end = time.monotonic() + deadline
    while True:
        done = subprocess.run(
            [*inside, *curl, url(address)], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return done.stdout.strip()
        if time.monotonic() > end:
            return None
        time.sleep(0.2)


def show(plan: Plan, lab: str, console: Console) -> bool:
    """Print the table of answers; False if some question had none."""
    regions = sorted({node.region for node in plan.nodes})
    questions = [
        (service, address, region)
        for service in plan.services
        for address in service.addresses.both()
        for region in regions
    ]
    there = place(lab)
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(
            pool.map(
                lambda asked: ask(there.namespace_path(f"client-{asked[2]}"), asked[1]), questions
            )
        )
    table = Table(title="Who answers the client in", title_justify="left", box=None, padding=(0, 1))
    for heading in ("service", "address", *regions):
        table.add_column(heading, no_wrap=True)
    for first in range(0, len(questions), len(regions)):
        service, address, _ = questions[first]
        row = answers[first : first + len(regions)]
        table.add_row(service.name, str(address), *(node or "[red]no answer[/]" for node in row))
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)
    return None not in answers
