"""Prints every figure. Nothing here passes or fails: machines are shared and noisy."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from bench import clouds, preview, rov, startup, table, thousand, withdraw

Figures = Callable[[], Iterator[tuple[str, float, str]]]

BENCHES: dict[str, Figures] = {
    "thousand": thousand.figures,
    "startup": startup.figures,
    "preview": preview.figures,
    "clouds": clouds.figures,
    "table": table.figures,
    "rov": rov.figures,
    "withdraw": withdraw.figures,
}
"""Every bench: a new one is one file and one line."""


def main() -> None:
    """Run the benches that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(BENCHES)}; all if unsaid")
    chosen = parser.parse_args().names or list(BENCHES)
    table = Table("figure", "value", "unit")
    table.columns[1].justify = "right"
    console = Console()
    for name in chosen:
        console.print(f"running {name} …", style="dim")
        for figure, value, unit in BENCHES[name]():
            table.add_row(figure, f"{value:.2f}", unit)
    console.print(table)


if __name__ == "__main__":
    main()
