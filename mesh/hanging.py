"""Messages for a terminal: what does not fit on a line goes on below it, indented."""

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
"""In place of a space at which a line is not broken; messages are printable."""


@dataclass(frozen=True, slots=True)
class Hanging:
    """A message as rich shows it. It is wrapped between words on a terminal, and stays on one line
    in a file or a pipe, for whoever searches there. ``style`` is that of the label, or of all of it
    where there is none. Print it with ``soft_wrap``."""

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
    """One line as several of that width. What goes on stands below the first word after a bullet,
    or is indented by two more. A command between backticks is kept whole, to be copied."""
    words = line.lstrip(" ")
    start = len(line) - len(words)
    hang = start + (len(words) - len(words.removeprefix("- ")) or INDENT)
    whole = COMMAND.sub(lambda command: command[0].replace(" ", NO_BREAK), line)
    return textwrap.fill(
        whole,
        width,
        subsequent_indent=" " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace(NO_BREAK, " ")
