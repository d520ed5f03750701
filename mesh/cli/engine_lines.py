"""The engine's output as people read it: each line once, and without its advice at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress

ADVICE = (
    "The resources in the stack have been deleted, but the history and configuration",
    "If you want to remove the stack completely, run `pulumi stack rm",
)
"""How the engine ends a destroy. Our own commands say what is to be done then."""

_ROW = re.compile(
    r"(?P<head> .. +\S+:\S+ \S+)"
    r"(?P<state> \*\*[^*]+\*\*| [a-z]+(?: [a-z]+)* \([\d.]+m?s\)| running|) *(?P<words>.*)"
)
"""A row of the engine's progress: operation, type, name, how far it is, and what was said."""
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

    It shows a row again whenever anything is said under it, with the first line of what was said,
    and at the end all that was said again. Here, what a resource says on its way is shown when it
    says it, and errors and warnings at the end, where they are whole.
    """
    rows, said, held, among = set[str](), set[str](), list[str](), ""
    for line in map(str.rstrip, lines):
        if line.startswith(ADVICE):
            continue
        among = line if line in _PARTS or line.startswith(_PARTS[-1]) else among
        if not among and (row := _ROW.fullmatch(line)):
            line = _row(row)
            if not line or line in rows:
                continue
            rows.add(line)
            if not row["words"].startswith(_AT_THE_END):
                said.add(row["words"] or line)
        elif among == _PARTS[0] and line.strip() in said:
            continue
        elif not line or line == _PARTS[0] or (among == _PARTS[0] and _is_heading(line)):
            held = _held(held, line)
            continue
        if among != _PARTS[0]:
            held = [""] if held else []
        yield from held
        held = []
        yield line


def _row(row: re.Match[str]) -> str:
    """A row as it is shown; empty where it says nothing. What is said under the stack itself needs
    no row around it."""
    words = "" if row["words"].startswith(_AT_THE_END) else row["words"]
    if not words and row["state"] in ("", " running"):
        return ""
    if not words and _LOOKED_AT.fullmatch(row["state"]):
        # Dozens of rows for nothing: the stack's own says that there is a refresh.
        return f"{row['head']} refreshing" if _STACK in row["head"] else ""
    if words and _STACK in row["head"] and not _COUNT.match(words):
        return f"    {words}"
    return f"{row['head']}{row['state']} {words}".rstrip()


def _is_heading(line: str) -> bool:
    """Whether a line of the diagnostics names the resource that they are of."""
    return line.startswith("  ") and not line.startswith("   ")


def _held(held: list[str], line: str) -> list[str]:
    """What waits for something to stand below it: one empty line, the title, one heading."""
    if not line:
        return held if held and (not held[-1] or _is_heading(held[-1])) else [*held, line]
    if _is_heading(line):
        return [*(each for each in held if not _is_heading(each)), line]
    return [*held, line]


def main() -> None:
    """Show what an engine writes into our standard input, as long as anybody reads it."""
    with suppress(BrokenPipeError):
        for line in once(sys.stdin):
            print(line, flush=True)
    for _ in sys.stdin:
        pass  # an engine that nobody listened to would die in the middle of its work


if __name__ == "__main__":
    main()
