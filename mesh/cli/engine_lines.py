"""The engine's output for people: each line once, and without its advice at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

ADVICE = (
    "The resources in the stack have been deleted, but the history and configuration",
    "If you want to remove the stack completely, run `pulumi stack rm",
)
"""How the engine ends a destroy. Our own commands show the next step instead."""

_ROW = re.compile(
    r"(?P<head> .. +\S+:\S+ \S+)"
    r"(?P<state> \*\*[^*]+\*\*| [a-z]+(?: [a-z]+)* \([\d.]+m?s\)| running|) *(?P<message>.*)"
)
"""A row of the engine's progress: operation, type, name, state, and message."""
_COUNT = re.compile(r"\d+ (?:error|warning|message)s?\b")
_LOOKED_AT = re.compile(r" (?:refreshing|refresh) \([\d.]+m?s\)")
"""The state of what a refresh looks at. What it finds is shown by what is done about it."""
_STACK = " pulumi:pulumi:Stack "
_PARTS = ("Diagnostics:", "Policies:", "Outputs:", "Resources:", "Duration:")
"""What begins after the rows."""
_AT_THE_END = ("error: ", "warning: ")
"""How a message begins that is shown whole, among the diagnostics at the end."""


def once(lines: Iterable[str]) -> Iterator[str]:
    """The lines of an engine that writes into a pipe, as they come.

    It repeats a row for each message of its resource, with the message's first line, and all
    messages at the end. Here a message is shown once, when it comes; errors and warnings are shown
    at the end, where they are complete.
    """
    rows, shown_before, waiting, among = set[str](), set[str](), list[str](), ""
    for line in map(str.rstrip, lines):
        if line.startswith(ADVICE):
            continue
        among = line if line in _PARTS or line.startswith(_PARTS[-1]) else among
        if not among and (row := _ROW.fullmatch(line)):
            line = _row(row)
            if not line or line in rows:
                continue
            rows.add(line)
            if not row["message"].startswith(_AT_THE_END):
                shown_before.add(row["message"] or line)
        elif among == _PARTS[0] and line.strip() in shown_before:
            continue
        elif not line or line == _PARTS[0] or (among == _PARTS[0] and _is_heading(line)):
            waiting = _waiting(waiting, line)
            continue
        if among != _PARTS[0]:
            waiting = [""] if waiting else []
        yield from waiting
        waiting = []
        yield line


def _row(row: re.Match[str]) -> str:
    """A row as it is shown; empty where it has no news. A message of the stack itself is shown
    without its row."""
    message = "" if row["message"].startswith(_AT_THE_END) else row["message"]
    if not message and row["state"] in ("", " running"):
        return ""
    if not message and _LOOKED_AT.fullmatch(row["state"]):
        # The stack's own row shows that there is a refresh; dozens of others add nothing.
        return f"{row['head']} refreshing" if _STACK in row["head"] else ""
    if message and _STACK in row["head"] and not _COUNT.match(message):
        return f"    {message}"
    return f"{row['head']}{row['state']} {message}".rstrip()


def _is_heading(line: str) -> bool:
    """Whether a line of the diagnostics names the resource that they are of."""
    return line.startswith("  ") and not line.startswith("   ")


def _waiting(waiting: list[str], line: str) -> list[str]:
    """The headings that are shown once a line follows them: an empty line, the title, a heading."""
    if not line:
        return (
            waiting
            if waiting and (not waiting[-1] or _is_heading(waiting[-1]))
            else [*waiting, line]
        )
    if _is_heading(line):
        return [*(each for each in waiting if not _is_heading(each)), line]
    return [*waiting, line]


def main() -> None:
    """Show what an engine writes into our standard input, as long as anybody reads it."""
    with suppress(BrokenPipeError):
        for line in once(sys.stdin):
            print(line, flush=True)
    for _ in sys.stdin:
        pass  # an engine without a reader would die of SIGPIPE in the middle of its work


if __name__ == "__main__":
    main()
