"""What others wrote, before anybody is shown it: providers, the engine, the branch's own program.

A terminal obeys escape sequences, and letters that turn the line around deceive who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
"""Colours, cursors and titles (ECMA-48: CSI, OSC): taken out whole, or their ends would stay."""


def plain(text: str) -> str:
    """One line of it, of printable characters only."""
    words = " ".join(SEQUENCE.sub("", text).split())
    return "".join(sign for sign in words if sign.isprintable())


def lines(text: str) -> Iterator[str]:
    """The lines of it that say something, each plain."""
    return filter(None, map(plain, text.splitlines()))
