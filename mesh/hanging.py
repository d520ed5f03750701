"""Messages wrapped for a terminal with a hanging indent."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.text import Text

INDENT = 2
COMMAND = re.compile("`[^`]{1,60}`")
NO_BREAK = "\0"
"""Placeholder of a space at which a line is not broken; messages do not contain it."""


@dataclass(frozen=True, slots=True)
class Hanging:
    """A message for rich. It is wrapped on a terminal, and stays on one line in a file or pipe, so
    that it can be searched. ``style`` applies to the label, or to all where there is no label.
    Print it with ``soft_wrap``."""

    text: str
    style: str = ""
    label: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        whole = " ".join(filter(None, (self.label, self.text)))
        if console.is_terminal:
            whole = "\n".join(wrapped(line, options.max_width) for line in whole.splitlines())
        shown = Text(whole, "" if self.label else self.style)
        shown.stylize(self.style, 0, len(self.label))
        yield shown


def wrapped(line: str, width: int) -> str:
    """A line wrapped to that width. Further lines are aligned with the text after a bullet, or
    indented by two more. A command between backticks is not broken, so that it can be copied."""
    text = line.lstrip(" ")
    start = len(line) - len(text)
    hang = start + (len(text) - len(text.removeprefix("- ")) or INDENT)
    whole = COMMAND.sub(lambda command: command[0].replace(" ", NO_BREAK), line)
    return textwrap.fill(
        whole,
        width,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(NO_BREAK, " ")
