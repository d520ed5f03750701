"""What others wrote, before anybody is shown it: providers, neighbors, the engine, other nodes.

A terminal obeys escape sequences, letters that turn the line around deceive who reads it, and a
runner of CI takes some lines as commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
"""Colours, cursors and titles (ECMA-48: CSI, OSC): taken out whole, or their ends would stay."""


def printable(text: str) -> str:
    """A text of others on one line: of printable characters, with one space between words, and
    without the marks by which a runner knows its commands."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in SEQUENCE.sub("", text))
    line = " ".join(text.split())
    # Runners take "::command::" at the beginning of a line, and "##[command]" anywhere in it.
    return re.sub(r"#(?=#)", "# ", re.sub(r"^::", ": :", line))


def lines(text: str) -> Iterator[str]:
    """The lines of it that say something, each printable."""
    return filter(None, map(printable, text.splitlines()))
