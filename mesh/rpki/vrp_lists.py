"""Lists of VRPs as validators write them.

JSON of rpki-client, Routinator, OctoRPKI and StayRTR: ``{"roas": [{"prefix": "192.0.2.0/24",
"maxLength": 24, "asn": "AS64496"}, ...]}``, where an ASN may be a number and ``expires`` seconds
since 1970. CSV of the same with a heading: ``ASN,IP Prefix,Max Length,Trust Anchor[,Expires]``.

Both are read piece by piece, to take no more memory than their length.
"""

from __future__ import annotations

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from itertools import islice
from typing import TextIO

from mesh.rpki.errors import SourceError
from mesh.rpki.json_stream import LONG, JsonReader, NotJson
from mesh.rpki.selection import Malformed, Selection
from mesh.spec.problems import shown

SHOWN = 5
"""Malformed entries that an error lists; after them, reading stops."""
LONGEST = 1 << 16
"""Characters of a CSV row; a ROA's URI in it has about a hundred."""
ROAS = "roas"
COLUMNS = ("ip prefix", "max length", "asn")
EXPIRY = "expires"
CURE = "have the validator write it again, as JSON or CSV"

_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]")


def take_list(content: bytes, selection: Selection, end: float) -> None:
    """Puts a list's VRPs into a selection; raises SourceError with the positions of malformed
    entries, and after ``end`` of the monotonic clock."""
    lines = io.BytesIO(content)
    text = io.TextIOWrapper(lines, encoding="utf-8-sig")
    take = _take_json if _JSON.match(content) else _take_csv
    try:
        wrong = list(islice(take(text, selection, end), SHOWN))
    except UnicodeDecodeError as error:
        byte = lines.tell() - len(error.object) + error.start
        raise SourceError(f"it is not text (byte {byte})", CURE) from None
    if wrong:
        more = ", and possibly more" if len(wrong) == SHOWN else ""
        raise SourceError(f"malformed: {'; '.join(wrong)}{more}", CURE)


def _take_json(text: TextIO, selection: Selection, end: float) -> Iterator[str]:
    """Takes the entries of ``roas``; yields what is wrong with them."""
    reader, found = JsonReader(text, end), 0
    try:
        for key in reader.members() if reader.peek() == "{" else ():
            if key == ROAS and reader.peek() == "[":
                found += 1
                yield from _take_entries(reader, selection)
            else:
                reader.value()
        if found:
            reader.finish()
    except NotJson as error:
        raise SourceError(f"it is not JSON ({error})", CURE) from None
    except RecursionError:
        raise SourceError("its JSON has too many layers", CURE) from None
    if found != 1:
        count = "more than one list" if found else "no list"
        raise SourceError(f"there is {count} `{ROAS}` in it", CURE)


def _take_entries(reader: JsonReader, selection: Selection) -> Iterator[str]:
    for index in reader.entries():
        entry = reader.value()
        if isinstance(entry, dict) and "prefix" in entry:
            try:
                selection.take_text(
                    entry["prefix"], entry.get("maxLength"), entry.get("asn"), entry.get(EXPIRY)
                )
            except Malformed as error:
                yield f"{ROAS}[{index}]: {error}: {shown(json.dumps(entry))}"
        elif entry is LONG:
            yield f"{ROAS}[{index}]: it is too long for a VRP"
        else:
            yield f"{ROAS}[{index}]: it has no prefix: {shown(entry)}"


class _Lines:
    """The lines of a text for a CSV reader. Raises on a row longer than ``LONGEST`` (a quoted
    newline continues it) and after ``end``."""

    def __init__(self, text: TextIO, end: float) -> None:
        self._text = text
        self._end = end
        self.of_row = 0
        """Characters of the current row; the caller resets it."""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST + 1)
        if not line:
            raise StopIteration
        self.of_row += len(line)
        if self.of_row > LONGEST:
            raise csv.Error(f"a row of more than {LONGEST} characters")
        if time.monotonic() > self._end:
            raise SourceError(
                "there was no time to read all of it", "check that it is a list of VRPs"
            )
        return line


def _take_csv(text: TextIO, selection: Selection, end: float) -> Iterator[str]:
    """Takes every row; yields what is wrong with them."""
    lines = _Lines(text, end)
    rows = csv.reader(lines)
    try:
        heading = [name.strip().lower() for name in next(rows, [])]
        if any(name not in heading for name in COLUMNS):
            raise SourceError(
                "it is neither JSON nor CSV with the columns ASN, IP Prefix and Max Length", CURE
            )
        places = [heading.index(name) for name in COLUMNS]
        expiry = heading.index(EXPIRY) if EXPIRY in heading else None
        for row in rows:
            lines.of_row = 0
            try:
                prefix, max_length, asn = (row[place] for place in places)
                selection.take_text(
                    prefix, max_length or None, asn, row[expiry] if expiry is not None else None
                )
            except IndexError:
                if row:
                    yield f"line {rows.line_num}: columns are missing: {shown(row)}"
            except Malformed as error:
                yield f"line {rows.line_num}: {error}: {shown(','.join(row))}"
    except csv.Error as error:
        yield f"line {rows.line_num}: {error}"
