"""Make text of others (providers, neighbors, the engine, other nodes) safe to print.

It may contain escape sequences of terminals, characters that change the direction of writing, and
commands of CI runners.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
"""Colours, cursors and titles (ECMA-48: CSI, OSC), which are removed as a whole."""


def printable(text: str) -> str:
    """The text on one line: printable characters only, single spaces, and no commands of CI
    runners."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in SEQUENCE.sub("", text))
    line = " ".join(text.split())
    # Runners take "::command::" at the beginning of a line, and "##[command]" anywhere in it.
    if line.startswith("::"):
        line = f": {line[1:]}"
    return re.sub(r"#(?=#)", "# ", line) if "##" in line else line


def lines(text: str) -> Iterator[str]:
    """The lines of a text that are not empty, each printable."""
    return filter(None, map(printable, text.splitlines()))


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
