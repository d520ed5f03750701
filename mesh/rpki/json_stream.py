"""A way through a JSON document of any size, of which a window stands in memory.

Whole, a document takes up to thirty times its size: a list with nothing in it is two bytes there,
and sixty-four here.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Final, TextIO

from mesh.rpki.errors import Unread

WINDOW = 1 << 18
"""Characters that are read at once; an entry of a list of VRPs has a few hundred."""
SPACE = re.compile(r"[ \t\n\r]*")
LONG: Final = object()
"""Stands for a value of more than ``WINDOW`` characters, which is nowhere as a whole."""

_decoder = json.JSONDecoder()


class NotJson(ValueError):
    """The text is no JSON; says where."""


class _Cut(Exception):
    """The window ends before the value does, or the value is none: ``why``."""

    def __init__(self, why: NotJson) -> None:
        self.why = why


class Walk:
    """Stands at a place in ``text``, and goes forward as it is asked; Unread from ``end`` of the
    monotonic clock on, NotJson where the text is none. RecursionError is the caller's."""

    def __init__(self, text: TextIO, end: float) -> None:
        self._text = text
        self._end = end
        self._window = ""
        self._at = 0
        self._before = 0
        self._whole = False

    def peek(self) -> str:
        """The next character that is no space; none at the end of the text."""
        while True:
            match = SPACE.match(self._window, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._window) or self._whole:
                return self._window[self._at : self._at + 1]
            self._fill()

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here, each before its value, which the caller takes
        in whatever way."""
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
        """The places of the list that begins here, each before its value, which the caller takes
        in whatever way."""
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
        """The value that begins here, ``LONG`` where it is."""
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
        """Nothing may stand behind the document."""
        if self.peek():
            raise self._wrong("Extra data", self._at)

    def _pass_over(self, why: NotJson) -> None:
        """Leave a long value behind; ``why`` is what a scan said of it."""
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
        """Have the window begin where we stand, and be full, or hold the end of the text."""
        if time.monotonic() > self._end:
            raise Unread(
                f"there was no time to read all of it ({self._before} characters were)",
                "look whether it is a list of VRPs",
            )
        kept = self._window[self._at :]
        self._before += self._at
        self._window = kept + self._text.read(WINDOW - len(kept))
        self._at = 0
        self._whole = len(self._window) < WINDOW
