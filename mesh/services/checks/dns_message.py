"""Questions and answers of DNS (RFC 1035, RFC 6891) as the ``dns`` check needs them.

Nodes have no library for it. Bytes of an answer are hostile until they are read: whatever they are,
:func:`read` yields an answer or raises :class:`Malformed`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

TYPES = {
    "A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33,
    "DS": 43, "DNSKEY": 48, "TLSA": 52, "SVCB": 64, "HTTPS": 65, "CAA": 257,
}  # fmt: skip
"""Numbers of record types by their names."""
RCODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
UDP_SIZE = 1232
"""How long an answer by UDP may be, so that it is in one packet everywhere (DNS flag day 2020)."""

_IN, _OPT, _NSID = 1, 41, 3
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_PAIR = struct.Struct("!HH")


class Malformed(Exception):
    """The bytes are no answer to the question."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says: ``types`` are those of the records in its answer section, ``serial`` is
    that of the first SOA record there."""

    rcode: int
    authoritative: bool
    truncated: bool
    types: frozenset[int]
    serial: int | None
    nsid: bytes | None


def question(number: int, name: str, kind: str) -> bytes:
    """A query with that id, which asks for the server's NSID as well (RFC 5001)."""
    labels = [label.encode("ascii") for label in name.strip(".").split(".") if label]
    encoded = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    option = _PAIR.pack(_NSID, 0)
    opt = b"\0" + _RECORD.pack(_OPT, UDP_SIZE, 0, len(option)) + option
    return b"".join(
        (_HEADER.pack(number, 0, 1, 0, 0, 1), encoded, _PAIR.pack(TYPES[kind], _IN), opt)
    )


def is_answer(data: bytes, query: bytes) -> bool:
    """Whether these bytes are an answer with the query's id and question."""
    end = _name_end(query, 12) + 4
    return (
        len(data) >= end
        and data[:2] == query[:2]
        and bool(data[2] & 0x80)
        and data[4:6] == b"\0\1"
        and data[12:end].lower() == query[12:end].lower()
    )


def read(data: bytes, query: bytes) -> Answer:
    """The answer to a query; Malformed where these bytes are none."""
    if not is_answer(data, query):
        raise Malformed("the answer is to another question")
    try:
        return _read(data, _name_end(query, 12) + 4)
    except (struct.error, IndexError):
        raise Malformed("the answer is cut off") from None


def _read(data: bytes, at: int) -> Answer:
    _, flags, _, answers, authorities, additional = _HEADER.unpack_from(data)
    rcode, types, serial, nsid = flags & 15, set[int](), None, None
    truncated = bool(flags & 0x0200)
    for number in range(answers + authorities + additional):
        if truncated and at == len(data):
            break  # the counts may be those of the whole answer
        at = _name_end(data, at)
        kind, _, ttl, length = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + length > len(data):
            raise IndexError
        if number < answers:
            types.add(kind)
            if kind == TYPES["SOA"] and serial is None:
                serial = _serial(data, at)
        elif kind == _OPT:
            rcode |= (ttl >> 24) << 4
            nsid = _option(data[at : at + length], _NSID)
        at += length
    return Answer(rcode, bool(flags & 0x0400), truncated, frozenset(types), serial, nsid)


def _name_end(data: bytes, at: int) -> int:
    """Where the name that begins there ends; pointers are not followed."""
    while (length := data[at]) and length < 0xC0:
        at += 1 + length
    return at + (2 if length else 1)


def _serial(data: bytes, at: int) -> int:
    number: int = struct.unpack_from("!I", data, _name_end(data, _name_end(data, at)))[0]
    return number


def _option(options: bytes, wanted: int) -> bytes | None:
    at = 0
    while at < len(options):
        code, length = _PAIR.unpack_from(options, at)
        at += _PAIR.size
        if code == wanted:
            return options[at : at + length]
        at += length
    return None


def rcode_text(number: int) -> str:
    """The name of an rcode, where it is one of the old ones."""
    return RCODES[number] if number < len(RCODES) else f"rcode {number}"


def is_older(serial: int, than: int) -> bool:
    """Whether a serial comes before another one (RFC 1982)."""
    return 0 < (than - serial) % 2**32 < 2**31
