"""Which node answers each client: every client of the lab asks every anycast service, over both
families, in the way of the service's kind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.table import Table

from mesh.lab.lab_files import files_of
from mesh.lab.probe import WHOAMI, asked_once
from mesh.lab.questions import Question, of_service
from mesh.lab.services import services_of
from mesh.plan import Plan
from mesh.plan.model import Address, PlannedService

DEADLINE = 10.0  # seconds; the deployment has waited for the fleet, this is for stragglers
WIDE = 200  # columns of a file or a pipe: the table is not cut there
HEADINGS = ("service", "address")
NO_ANSWER = "no answer"


def ask(
    namespace: str, address: Address, question: Question, deadline: float = DEADLINE
) -> str | None:
    """Who answers for ``address`` in ``namespace``, by the id of a node; None if nobody does."""
    end = time.monotonic() + deadline
    while (answer := asked_once(namespace, address, question)) is None:
        if time.monotonic() > end:
            return None
        time.sleep(0.2)
    return answer


def show(plan: Plan, lab: str, console: Console) -> bool:
    """Print the table of answers; False if some question had none."""
    if not plan.services:
        console.print("no service is planned yet, which a client could ask: see mesh:services")
        return True
    regions = sorted({node.region for node in plan.nodes})
    how = {service.name: of_service(service) for service in services_of(plan)}
    questions = [
        (service, address, region, question)
        for service in plan.services
        if (question := how.get(service.name, WHOAMI)) is not None
        for address in service.addresses.both()
        for region in regions
    ]
    there = files_of(lab)

    def answer(asked: tuple[PlannedService, Address, str, Question]) -> str | None:
        _, address, region, question = asked
        return ask(there.namespace(f"client-{region}"), address, question)

    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = list(pool.map(answer, questions))
    if not console.is_terminal:
        console.width = WIDE
    rows = {
        (service.name, str(address)): dict(
            zip(regions, answers[first : first + len(regions)], strict=True)
        )
        for first, (service, address, region, _) in enumerate(questions)
        if region == regions[0]
    }
    console.print("Who answers the client in")
    for table in tables(rows, regions, console.width):
        console.print(table)
    return None not in answers


Answers = Mapping[tuple[str, str], Mapping[str, str | None]]
"""The node that answers, or None, by service and address, and by region."""


def tables(rows: Answers, regions: Sequence[str], width: int) -> Iterator[Table]:
    """The answers: one table where its regions fit side by side, else several below each other."""
    own = [max(map(len, texts)) for texts in zip(*rows, HEADINGS, strict=True)]
    room = width - sum(own) - 2 * len(own)
    needed = {
        region: 2 + max(len(region), *(len(row[region] or NO_ANSWER) for row in rows.values()))
        for region in regions
    }
    left = list(regions)
    while left:
        some = [left.pop(0)]
        while left and sum(needed[each] for each in (*some, left[0])) <= room:
            some.append(left.pop(0))
        yield _table(rows, some)


def _table(rows: Answers, regions: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for heading in (*HEADINGS, *regions):
        table.add_column(heading, overflow="fold")
    for names, row in rows.items():
        answers = (row[region] for region in regions)
        table.add_row(*names, *(node or f"[red]{NO_ANSWER}[/]" for node in answers))
    return table
