"""A route as it travels: its prefix and path attributes, to bytes and back (RFC 4271, 4760, 6793).

The two directions share nothing but the numbers, so that each can check the other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter

Address = IPv4Address | IPv6Address
# A global address, or a global and a link-local one (RFC 2545).
NextHop = Address | tuple[IPv6Address, IPv6Address]

ORIGIN, AS_PATH, NEXT_HOP, MED, LOCAL_PREF, ATOMIC_AGGREGATE, AGGREGATOR = 1, 2, 3, 4, 5, 6, 7
COMMUNITIES, MP_REACH_NLRI, MP_UNREACH_NLRI, EXTENDED, LARGE, OTC = 8, 14, 15, 16, 32, 35
AS4_PATH, AS4_AGGREGATOR = 17, 18

OPTIONAL, TRANSITIVE, PARTIAL, LONG = 0x80, 0x40, 0x20, 0x10
WELL_KNOWN = TRANSITIVE
FLAGS = dict.fromkeys((MED, MP_REACH_NLRI, MP_UNREACH_NLRI), OPTIONAL) | dict.fromkeys(
    (AGGREGATOR, COMMUNITIES, EXTENDED, LARGE, OTC, AS4_PATH, AS4_AGGREGATOR),
    OPTIONAL | TRANSITIVE,
)

AS_TRANS = 23456
AS_SET, AS_SEQUENCE = 1, 2
AFI = {4: 1, 6: 2}
FAMILY = {1: 4, 2: 6}


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of an AS path as it is: an empty one, a confederation's (kinds 3 and 4)."""

    kind: int
    asns: tuple[int, ...]


# From the nearest AS on. An AS_SET is a frozenset; sequences are plain numbers.
Path = tuple[int | frozenset[int] | Segment, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """A path attribute by number, in bytes; one of ours with that number is left out for it."""

    code: int
    value: bytes
    flags: int = OPTIONAL | TRANSITIVE


@dataclass(frozen=True, slots=True)
class Route:
    """An announcement. What is None (or empty) is not sent, mandatory or not.

    ``origin``: 0 IGP, 1 EGP, 2 incomplete; None leaves it out, as it does for ``path``.
    ``extended``: communities of 8 bytes each. ``otc``: Only to Customer (RFC 9234).
    """

    prefix: str
    path: Path | None
    next_hop: NextHop | None
    local_pref: int | None = None
    med: int | None = None
    communities: tuple[tuple[int, int], ...] = ()
    large: tuple[tuple[int, int, int], ...] = ()
    extended: tuple[bytes, ...] = ()
    otc: int | None = None
    origin: int | None = 0
    atomic: bool = False
    aggregator: tuple[int, IPv4Address] | None = None
    raw: tuple[Raw, ...] = ()

    @property
    def family(self) -> int:
        """4 or 6, of the prefix."""
        return family(self.prefix)


# All but the prefix: what routes must share to travel in one UPDATE.
shared = attrgetter(*(name for name in Route.__slots__ if name != "prefix"))


def family(prefix: str) -> int:
    """4 or 6."""
    return 6 if ":" in prefix else 4


# --- Prefixes ------------------------------------------------------------------------------------


def nlri(prefix: str) -> bytes:
    """A prefix on the wire: its length and as many octets as that needs; host bits may be set."""
    address, length = prefix.rsplit("/", 1)
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    bits = int(length)
    return bytes((bits,)) + socket.inet_pton(kind, address)[: (bits + 7) >> 3]


def prefixes(data: bytes, version: int) -> Iterator[str]:
    """The prefixes of a field of NLRI, as text; ValueError when they do not end with it."""
    kind, size = (socket.AF_INET6, 16) if version == 6 else (socket.AF_INET, 4)
    at = 0
    while at < len(data):
        bits = data[at]
        end = at + 1 + (bits + 7) // 8
        if bits > 8 * size or end > len(data):
            raise ValueError(f"no prefix of IPv{version}: {data[at:].hex()}")
        yield f"{socket.inet_ntop(kind, data[at + 1 : end].ljust(size, bytes(1)))}/{bits}"
        at = end


# --- To bytes ------------------------------------------------------------------------------------


def attribute(code: int, value: bytes, flags: int | None = None) -> bytes:
    """A path attribute; its length takes two octets when it must."""
    flags = FLAGS.get(code, WELL_KNOWN) if flags is None else flags
    if len(value) > 255 or flags & LONG:
        return struct.pack("!BBH", flags | LONG, code, len(value)) + value
    return struct.pack("!BBB", flags, code, len(value)) + value


def encode(route: Route, reach: bytes | None, wide: bool = True) -> bytes:
    """All path attributes of a route, by number. ``reach``: NLRI that go into MP_REACH_NLRI.

    ``wide``: ASNs of four octets were agreed on; otherwise AS4_PATH says what does not fit.
    """
    values: dict[int, bytes] = {}
    if route.origin is not None:
        values[ORIGIN] = bytes((route.origin,))
    if route.path is not None:
        values[AS_PATH] = _path(route.path, wide)
        if not wide and any(asn > 65535 for each in _segments(route.path) for asn in each.asns):
            values[AS4_PATH] = _path(route.path, True)
    if route.med is not None:
        values[MED] = struct.pack("!I", route.med)
    if route.local_pref is not None:
        values[LOCAL_PREF] = struct.pack("!I", route.local_pref)
    if route.atomic:
        values[ATOMIC_AGGREGATE] = b""
    if route.aggregator is not None:
        asn, address = route.aggregator
        values[AGGREGATOR] = _asns((asn,), wide) + address.packed
    if route.communities:
        values[COMMUNITIES] = b"".join(struct.pack("!HH", *each) for each in route.communities)
    if route.extended:
        values[EXTENDED] = b"".join(route.extended)
    if route.large:
        values[LARGE] = b"".join(struct.pack("!III", *each) for each in route.large)
    if route.otc is not None:
        values[OTC] = struct.pack("!I", route.otc)
    hop = _hop(route.next_hop)
    if reach is not None:
        head = struct.pack("!HBB", AFI[route.family], 1, len(hop))
        values[MP_REACH_NLRI] = head + hop + b"\0" + reach
    elif hop:
        values[NEXT_HOP] = hop
    for each in route.raw:
        values.pop(each.code, None)
    coded = [(code, attribute(code, value)) for code, value in values.items()]
    coded += [(each.code, attribute(each.code, each.value, each.flags)) for each in route.raw]
    return b"".join(text for _, text in sorted(coded, key=lambda pair: pair[0]))


def _hop(hop: NextHop | None) -> bytes:
    if hop is None:
        return b""
    return b"".join(each.packed for each in hop) if isinstance(hop, tuple) else hop.packed


def _path(path: Path, wide: bool) -> bytes:
    """AS_PATH; a sequence of more than 255 goes on in a second segment."""
    return b"".join(
        struct.pack("!BB", each.kind, len(each.asns)) + _asns(each.asns, wide)
        for each in _segments(path)
    )


def _segments(path: Path) -> Iterator[Segment]:
    run: list[int] = []
    for item in path:
        if isinstance(item, int):
            if len(run) == 255:
                yield Segment(AS_SEQUENCE, tuple(run))
                run = []
            run.append(item)
            continue
        if run:
            yield Segment(AS_SEQUENCE, tuple(run))
            run = []
        yield item if isinstance(item, Segment) else Segment(AS_SET, tuple(sorted(item)))
    if run:
        yield Segment(AS_SEQUENCE, tuple(run))


def _asns(asns: Iterable[int], wide: bool) -> bytes:
    if wide:
        return b"".join(struct.pack("!I", asn) for asn in asns)
    return b"".join(struct.pack("!H", asn if asn < 65536 else AS_TRANS) for asn in asns)


# --- From bytes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decoded:
    """The path attributes of one UPDATE: fields of its routes, and MP-BGP's own prefixes."""

    fields: Mapping[str, object]
    family: int | None = None
    announced: tuple[str, ...] = ()
    withdrawn: tuple[str, ...] = ()
    withdrawn_family: int | None = None


def decode(data: bytes, wide: bool = True) -> Decoded:
    """Read path attributes; what is not known here is kept as Raw. ValueError where they break."""
    fields: dict[str, object] = {"path": None, "next_hop": None, "origin": None}
    reached: tuple[int | None, tuple[str, ...]] = (None, ())
    lost: tuple[int | None, tuple[str, ...]] = (None, ())
    raw: list[Raw] = []
    for flags, code, value in _each(data):
        if code == MP_REACH_NLRI:
            version, size = FAMILY[int.from_bytes(value[:2], "big")], value[3]
            fields["next_hop"] = _read_hop(value[4 : 4 + size])
            reached = (version, tuple(prefixes(value[5 + size :], version)))
        elif code == MP_UNREACH_NLRI:
            version = FAMILY[int.from_bytes(value[:2], "big")]
            lost = (version, tuple(prefixes(value[3:], version)))
        elif code == AS_PATH:
            fields["path"] = _read_path(value, 4 if wide else 2)
        elif code == AGGREGATOR:
            fields["aggregator"] = (int.from_bytes(value[:-4], "big"), IPv4Address(value[-4:]))
        elif code in READERS:
            name, read = READERS[code]
            fields[name] = read(value)
        else:
            raw.append(Raw(code, value, flags & ~LONG))
    fields["raw"] = tuple(raw)
    return Decoded(fields, *reached, lost[1], lost[0])


def _each(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(data):
        flags, code = data[at], data[at + 1]
        start = at + (4 if flags & LONG else 3)
        end = start + int.from_bytes(data[at + 2 : start], "big")
        if end > len(data):
            raise ValueError(f"attribute {code} ends after the attributes")
        yield flags, code, data[start:end]
        at = end


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _read_hop(value: bytes) -> NextHop | None:
    if len(value) == 32:
        return IPv6Address(value[:16]), IPv6Address(value[16:])
    if not value:
        return None
    return IPv4Address(value) if len(value) == 4 else IPv6Address(value)


def _read_path(value: bytes, width: int) -> Path:
    path: list[int | frozenset[int] | Segment] = []
    at = 0
    while at < len(value):
        kind, count = value[at], value[at + 1]
        end = at + 2 + count * width
        if end > len(value):
            raise ValueError("an AS_PATH segment ends after the path")
        asns = tuple(_number(value[i : i + width]) for i in range(at + 2, end, width))
        if kind == AS_SEQUENCE and asns:
            path += asns
        elif kind == AS_SET and len(set(asns)) == len(asns) and asns:
            path.append(frozenset(asns))
        else:
            path.append(Segment(kind, asns))
        at = end
    return tuple(path)


READERS: dict[int, tuple[str, Callable[[bytes], object]]] = {
    ORIGIN: ("origin", _number),
    NEXT_HOP: ("next_hop", _read_hop),
    MED: ("med", _number),
    LOCAL_PREF: ("local_pref", _number),
    ATOMIC_AGGREGATE: ("atomic", lambda _value: True),
    COMMUNITIES: ("communities", lambda value: tuple(struct.iter_unpack("!HH", value))),
    EXTENDED: ("extended", lambda value: tuple(v for (v,) in struct.iter_unpack("!8s", value))),
    LARGE: ("large", lambda value: tuple(struct.iter_unpack("!III", value))),
    OTC: ("otc", _number),
}
