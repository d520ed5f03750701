"""Tables for people, at full width where the output is no terminal."""

from __future__ import annotations

from rich.table import Table

WIDE = 10_000
"""Columns of a file or a pipe: a table is as wide there as what it holds."""


def table(*headings: str) -> Table:
    """A table that folds what does not fit: a cut address is useless."""
    made = Table(box=None, padding=(0, 1, 0, 0))
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made
