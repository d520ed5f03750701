"""Reads a JSON document of any size with one window of it in memory.

Parsed as a whole, a document may take thirty times its size: an empty list has two bytes as text
and sixty-four in memory.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Final, TextIO

from mesh.rpki.errors import SourceError

WINDOW = 1 << 18
"""Characters that are read at once; a VRP has a few hundred."""
SPACE = re.compile(r"[ \t\n\r]*")
LONG: Final = object()
"""Stands for a value of more than ``WINDOW`` characters, which is not kept."""

_decoder = json.JSONDecoder()


class NotJson(ValueError):
    """The text is not JSON; the message gives the position."""


class _Cut(Exception):
    """The window ends before the value does, or the value is malformed: ``why``."""

    def __init__(self, why: NotJson) -> None:
        self.why = why


class JsonReader:
    """Reads ``text`` forward. Raises SourceError after ``end`` of the monotonic clock, NotJson, and
    RecursionError for too many layers."""

    def __init__(self, text: TextIO, end: float) -> None:
        self._text = text
        self._end = end
        self._window = ""
        self._at = 0
        self._before = 0
        self._whole = False

    def peek(self) -> str:
        """The next character that is not a space; empty at the end of the text."""
        while True:
            match = SPACE.match(self._window, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._window) or self._whole:
                return self._window[self._at : self._at + 1]
            self._fill()

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here; the caller reads each value before the next
        key."""
        self._step("{")
        if self.peek() == "}":
            self._step("}")
            return
        more = True
        while more:
            if self.peek() != '"':
                raise self._wrong("Expecting property name enclosed in double quotes", self._at)
            key = self.value()
            self._step(":")
            yield str(key)
            more = self._step(",", "}") == ","

    def entries(self) -> Iterator[int]:
        """The indexes of the list that begins here; the caller reads each value before the next."""
        self._step("[")
        if self.peek() == "]":
            self._step("]")
            return
        index, more = 0, True
        while more:
            yield index
            index += 1
            more = self._step(",", "]") == ","

    def value(self) -> object:
        """The value that begins here, ``LONG`` where it is too long."""
        self.peek()
        try:
            return self._scanned()
        except _Cut:
            self._fill()
        try:
            return self._scanned()
        except _Cut as cut:
            self._pass_over(cut.why)
        return LONG

    def finish(self) -> None:
        """Raises NotJson where anything follows the document."""
        if self.peek():
            raise self._wrong("Extra data", self._at)

    def _pass_over(self, why: NotJson) -> None:
        """Skips a long value; ``why`` is the scanner's error for it."""
        match self.peek():
            case "[":
                for _ in self.entries():
                    self.value()
            case "{":
                for _ in self.members():
                    self.value()
            case _:
                raise why

    def _step(self, *expected: str) -> str:
        character = self.peek()
        if character not in expected:
            raise self._wrong(f"Expecting {' or '.join(map(repr, expected))}", self._at)
        self._at += 1
        return character

    def _scanned(self) -> object:
        try:
            value, at = _decoder.raw_decode(self._window, self._at)
        except json.JSONDecodeError as error:
            why = self._wrong(error.msg, error.pos)
        except ValueError as error:  # digits without end
            why = self._wrong(str(error), self._at)
        else:
            if at + len(".e+") <= len(self._window) or self._whole:  # "1" may go on as "1e+5"
                self._at = at
                return value
            why = self._wrong("A number that is too long", self._at)
        if self._whole:
            raise why
        raise _Cut(why)

    def _wrong(self, what: str, at: int) -> NotJson:
        return NotJson(f"{what} at character {self._before + at}")

    def _fill(self) -> None:
        """Moves the window to the current position and fills it, up to the end of the text."""
        if time.monotonic() > self._end:
            raise SourceError(
                f"there was no time to read all of it ({self._before} characters were)",
                "check that it is a list of VRPs",
            )
        kept = self._window[self._at :]
        self._before += self._at
        self._window = kept + self._text.read(WINDOW - len(kept))
        self._at = 0
        self._whole = len(self._window) < WINDOW
