"""DNS messages, as far as probes and stand-ins need them (RFC 1035, RFC 6891, NSID of RFC 5001).

Standard library only: a stand-in runs this file on its node.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

TXT, LABEL = 16, 63
INTERNET, CHAOS = 1, 3
IDENTITY = "id.server"
"""Name of a server's own name, in class CHAOS (RFC 4892)."""
REFUSED = 5
SIZE = 1232
"""Bytes of an answer over UDP that fit into every path."""

_OPT, _NSID = 41, 3
_RESPONSE, _AUTHORITATIVE = 0x8000, 0x0400
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")


@dataclass(frozen=True, slots=True)
class Question:
    """A name, without a dot at its end, and the numbers of its type and class."""

    name: str
    type: int
    cls: int = INTERNET

    def encoded(self) -> bytes:
        """As it stands in a message."""
        return encoded(self.name) + struct.pack("!HH", self.type, self.cls)


WHO = Question(IDENTITY, TXT, CHAOS)
"""Asks a server for its own name."""


@dataclass(frozen=True, slots=True)
class Query:
    """A question as it was asked; ``nsid`` is whether NSID is wanted, None without EDNS."""

    number: int
    question: Question
    nsid: bool | None


def encoded(name: str) -> bytes:
    """A name on the wire, without compression. ValueError for what is none."""
    labels = [label.encode("ascii") for label in name.strip(".").split(".") if label]
    if any(len(label) > LABEL for label in labels):
        raise ValueError(f"a label of a name has at most {LABEL} characters")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(question: Question, number: int) -> bytes:
    """A message that asks a question, and which server answers."""
    option = struct.pack("!HH", _NSID, 0)
    return (
        _HEADER.pack(number, 0, 1, 0, 0, 1)
        + question.encoded()
        + b"\0"
        + _RECORD.pack(_OPT, SIZE, 0, len(option))
        + option
    )


def answerer(message: bytes, number: int) -> str | None:
    """Which server has answered query ``number`` without an error, by NSID or by the text of its
    answer to :data:`WHO`; empty where it does not say. None where this is no such answer."""
    try:
        its_number, flags = struct.unpack_from("!HH", message)
        if its_number != number or not flags & _RESPONSE or flags & 0xF:
            return None
        records = list(_records(message))
    except (struct.error, IndexError, UnicodeDecodeError):
        return None
    for kind, _, data in records:
        if kind == _OPT and (found := dict(_options(data)).get(_NSID)) is not None:
            return found.decode("ascii", "replace")
    texts = [data[1:] for kind, cls, data in records if (kind, cls) == (WHO.type, CHAOS)]
    return texts[0].decode("ascii", "replace") if texts else ""


def read(message: bytes) -> Query:
    """A query; ValueError for what is none."""
    try:
        number, flags, questions = struct.unpack_from("!HHH", message)
        if flags & _RESPONSE or questions != 1:
            raise ValueError("no query with one question")
        name, place = _name(message, _HEADER.size)
        kind, cls = struct.unpack_from("!HH", message, place)
        options = [dict(_options(data)) for each, _, data in _records(message) if each == _OPT]
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ValueError("no DNS message") from None
    return Query(number, Question(name, kind, cls), _NSID in options[0] if options else None)


def reply(asked: Query, code: int, answers: Sequence[bytes], server: str) -> bytes:
    """An authoritative answer with the data of records of the type that was asked for, from the
    server of that name."""
    name = b"\xc0" + bytes([_HEADER.size])
    records = b"".join(
        name + _RECORD.pack(asked.question.type, asked.question.cls, 60, len(data)) + data
        for data in answers
    )
    edns = b""
    if asked.nsid is not None:
        told = server.encode() if asked.nsid else b""
        option = struct.pack("!HH", _NSID, len(told)) + told if told else b""
        edns = b"\0" + _RECORD.pack(_OPT, SIZE, 0, len(option)) + option
    flags = _RESPONSE | _AUTHORITATIVE | code
    header = _HEADER.pack(asked.number, flags, 1, len(answers), 0, 1 if edns else 0)
    return header + asked.question.encoded() + records + edns


def data(kind: int, zone: str, serial: int, address: str) -> bytes:
    """Some data of a record of that type: a zone's serial, addresses and names that exist."""
    match kind:
        case 1 | 28:
            wanted = 4 if kind == 1 else 6
            own = ip_address(address)
            other = ip_address("192.0.2.1" if wanted == 4 else "2001:db8::1")
            return (own if own.version == wanted else other).packed
        case 2 | 5 | 12:
            return encoded(zone)
        case 6:
            times = struct.pack("!IIIII", serial, 3600, 600, 86400, 60)
            return encoded(zone) * 2 + times
        case 15:
            return struct.pack("!H", 10) + encoded(zone)
        case 16:
            return text(zone)
        case 33:
            return struct.pack("!HHH", 0, 0, 443) + encoded(zone)
        case 257:
            return b"\0\x05issue" + b"ca.invalid"
    return bytes(4)


def text(content: str) -> bytes:
    """The data of a TXT record."""
    return bytes([len(content)]) + content.encode()


def _name(message: bytes, place: int) -> tuple[str, int]:
    """A name without compression, in lower case, and the place after it."""
    labels = []
    while length := message[place]:
        if length > LABEL:
            raise IndexError
        labels.append(message[place + 1 : place + 1 + length].decode("ascii").lower())
        place += 1 + length
    return ".".join(labels), place + 1


def _after_name(message: bytes, place: int) -> int:
    while length := message[place]:
        if length >= 0xC0:
            return place + 2
        place += 1 + length
    return place + 1


def _records(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, class and data of the records after the question, of all sections."""
    _, _, questions, *counts = _HEADER.unpack_from(message)
    place = _HEADER.size
    for _ in range(questions):
        place = _after_name(message, place) + 4
    for _ in range(sum(counts)):
        place = _after_name(message, place)
        kind, cls, _, length = _RECORD.unpack_from(message, place)
        place += _RECORD.size
        yield kind, cls, message[place : place + length]
        place += length


def _options(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(content):
        code, length = struct.unpack_from("!HH", content, place)
        yield code, content[place + 4 : place + 4 + length]
        place += 4 + length
