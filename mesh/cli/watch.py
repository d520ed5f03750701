"""What a command shows again and again: in place on a terminal, else whenever it changes."""

from __future__ import annotations

import io
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment
from rich.table import Table

from mesh.cli.tables import WIDE
from mesh.trust.encoding import moment

AGE = re.compile(r"\b\d+(\.\d+)? (s|min|h|d)\b")
"""How long ago something was: it grows all the time, and is no change."""
REDRAWS = 2
"""In a second: a terminal that gets another size is drawn anew so soon."""


@dataclass(frozen=True)
class Shown:
    """What a command shows at one moment: ``parts`` for people, one below the other, and
    ``document`` for machines."""

    parts: Sequence[RenderableType]
    document: Mapping[str, Any]

    def text(self) -> str:
        """The parts without colours, each line as long as it is."""
        console = Console(file=io.StringIO(), width=WIDE, color_system=None, highlight=False)
        print_parts(console, self.parts)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()


def print_parts(console: Console, parts: Sequence[RenderableType]) -> None:
    """Print each part. A message stays on one line in a file or a pipe."""
    if not console.is_terminal:
        console.width = WIDE
    for part in parts:
        console.print(part, soft_wrap=not isinstance(part, Table))


def watch(take: Callable[[], Shown], title: str, interval: float, as_json: bool) -> None:
    """Show what ``take`` returns, every ``interval`` seconds, until somebody presses Ctrl-C."""
    console = Console(highlight=False)
    try:
        with ended_by_sigterm():
            if console.is_terminal and not console.is_dumb_terminal and not as_json:
                _redraw(console, take, title, interval)
            _print_changes(console, take, interval, as_json)
    except KeyboardInterrupt:
        return


def _redraw(console: Console, take: Callable[[], Shown], title: str, interval: float) -> NoReturn:
    """On the terminal's second screen: the first one is as it was when this ends."""
    waiting = Page(f"{title}: asking …", ())
    with Live(waiting, console=console, screen=True, refresh_per_second=REDRAWS) as live:
        while True:
            parts = take().parts
            live.update(Page(f"{title}, {moment(time.time())}; Ctrl-C ends it", parts))
            time.sleep(interval)


def _print_changes(
    console: Console, take: Callable[[], Shown], interval: float, as_json: bool
) -> NoReturn:
    last: list[str] = []
    while True:
        shown = take()
        # A longer age may widen a column.
        text = AGE.sub("", shown.text()).split()
        if text != last:
            last = text
            if as_json:
                typer.echo(json.dumps(shown.document))
            else:
                print_parts(console, [moment(time.time()), *shown.parts, ""])
        time.sleep(interval)


@dataclass(frozen=True)
class Page:
    """A heading and parts below, cut to the height of the terminal; the last line says how many
    lines are missing."""

    heading: str
    parts: Sequence[RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(2, options.height or console.height)
        inner = options.update(height=None)
        lines = console.render_lines(Group(self.heading, *self.parts), inner, pad=False)
        if len(lines) > room:
            missing = len(lines) - room + 1
            lines = [*lines[: room - 1], [Segment(f"… and {missing} more lines")]]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what it holds is given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
