"""Lists of VRPs as validators write them.

JSON of rpki-client, Routinator, OctoRPKI and StayRTR: ``{"roas": [{"prefix": "192.0.2.0/24",
"maxLength": 24, "asn": "AS64496"}, ...]}``, where an ASN may be a number and ``expires`` seconds
since 1970. CSV of the same with a heading: ``ASN,IP Prefix,Max Length,Trust Anchor[,Expires]``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mesh.roa.selection import Malformed, Selection
from mesh.roa.unread import Unread
from mesh.spec.problems import shown

SHOWN = 5
"""Malformed entries that an error names."""
COLUMNS = ("ip prefix", "max length", "asn")
EXPIRY = "expires"
CURE = "have the validator write it anew, as JSON or CSV"


def take_list(text: bytes, selection: Selection) -> None:
    """Put what a list holds into a selection; Unread with the places of what is no VRP."""
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unread(f"it is not text (byte {error.start})", CURE) from None
    if decoded.lstrip()[:1] in ("{", "["):
        wrong = _take_json(decoded, selection)
    else:
        wrong = _take_csv(decoded, selection)
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise Unread(f"malformed: {'; '.join(wrong[:SHOWN])}{more}", CURE)


class _Wrong:
    """Stands for an entry that is no VRP, until its place is known."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


_TAKEN = object()


def _take_json(text: str, selection: Selection) -> list[str]:
    def taken(entry: dict[str, Any]) -> object:
        """An object as soon as it was read: half a million of them never stand in memory."""
        if "prefix" not in entry:
            return entry
        try:
            selection.take_text(
                entry["prefix"], entry.get("maxLength"), entry.get("asn"), entry.get(EXPIRY)
            )
        except Malformed as error:
            return _Wrong(f"{error}: {shown(json.dumps(entry, default=str))}")
        return _TAKEN

    try:
        document = json.loads(text, object_hook=taken)
    except ValueError as error:
        raise Unread(f"it is not JSON ({error})", CURE) from None
    except RecursionError:
        raise Unread("it is JSON in too many layers", CURE) from None
    roas = document.get("roas") if isinstance(document, dict) else None
    if not isinstance(roas, list):
        raise Unread("there is no list `roas` in it", CURE)
    return list(_wrong_entries(roas))


def _wrong_entries(roas: Sequence[object]) -> Iterator[str]:
    for index, entry in enumerate(roas):
        if isinstance(entry, _Wrong):
            yield f"roas[{index}]: {entry.why}"
        elif entry is not _TAKEN:
            yield f"roas[{index}]: it has no prefix: {shown(entry)}"


def _take_csv(text: str, selection: Selection) -> list[str]:
    rows = csv.reader(text.splitlines())
    wrong: list[str] = []
    try:
        heading = [name.strip().lower() for name in next(rows, [])]
        if any(name not in heading for name in COLUMNS):
            raise Unread(
                "it is neither JSON nor CSV with the columns ASN, IP Prefix and Max Length", CURE
            )
        places = [heading.index(name) for name in COLUMNS]
        expiry = heading.index(EXPIRY) if EXPIRY in heading else None
        for row in rows:
            try:
                prefix, max_length, asn = (row[place] for place in places)
                selection.take_text(
                    prefix, max_length or None, asn, row[expiry] if expiry is not None else None
                )
            except IndexError:
                if row:
                    wrong.append(f"line {rows.line_num}: columns are missing: {shown(row)}")
            except Malformed as error:
                wrong.append(f"line {rows.line_num}: {error}: {shown(','.join(row))}")
    except csv.Error as error:
        wrong.append(f"line {rows.line_num}: {error}")
    return wrong
