"""Tables for a person, whole where nobody looks at a screen."""

from __future__ import annotations

from rich.table import Table

WIDE = 10_000
"""Columns of a file or a pipe: a table is as wide there as what it holds."""


def table(*headings: str) -> Table:
    """A table in which what does not fit is folded: an address that is cut says nothing."""
    made = Table(box=None, padding=(0, 1, 0, 0))
    for heading in headings:
        made.add_column(heading, overflow="fold")
    return made
