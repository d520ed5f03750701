"""Prints every figure. Nothing here passes or fails: machines are shared and noisy."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from bench import (
    checks,
    clouds,
    contents,
    failover,
    glass,
    history,
    preview,
    registry,
    rov,
    startup,
    table,
    thousand,
    withdraw,
)
from mesh.cli.environment import checkout

Figures = Callable[[], Iterator[tuple[str, float, str]]]

BENCHES: dict[str, Figures] = {
    "thousand": thousand.figures,
    "registry": registry.figures,
    "contents": contents.figures,
    "startup": startup.figures,
    "preview": preview.figures,
    "clouds": clouds.figures,
    "table": table.figures,
    "rov": rov.figures,
    "withdraw": withdraw.figures,
    "checks": checks.figures,
    "glass": glass.figures,
    "failover": failover.short,
    "glass-full": glass.full,
    "failover-all": failover.figures,
}
"""Every bench: a new one is one file and one line."""

ON_REQUEST = ("failover-all", "glass-full")
"""Benches that run only where they are named: the first takes an hour, and of the second a fifth of
the table is in every run."""

EPILOG = (
    f"Each run keeps its figures in {history.FILE} of the checkout, with date, commit and machine. "
    "The next run on the same machine prints in red, with both numbers, what is worse by more than "
    "a third. Less is better of every figure but a count."
)


def main() -> None:
    """Run the benches that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG)
    parser.add_argument(
        "names",
        nargs="*",
        help=f"which of {', '.join(BENCHES)}; default: all but {', '.join(ON_REQUEST)}",
    )
    chosen = parser.parse_args().names or [name for name in BENCHES if name not in ON_REQUEST]
    table = Table("figure", "value", "unit")
    table.columns[1].justify = "right"
    console = Console()
    path = checkout() / history.FILE
    earlier, run = history.read(path), history.begun()
    for name in chosen:
        console.print(f"running {name} …", style="dim")
        for figure, value, unit in BENCHES[name]():
            table.add_row(figure, f"{value:.2f}", unit)
            run.figures[figure] = history.Figure(value, unit)
        history.write(path, [*earlier, run])
    console.print(table)
    for slip in history.slips(history.last(earlier, run.machine), run.figures):
        console.print(f"slipped: {slip}", style="red", highlight=False, markup=False)


if __name__ == "__main__":
    main()
