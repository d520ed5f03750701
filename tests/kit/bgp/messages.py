"""BGP's messages as data, to bytes and back: OPEN, UPDATE, NOTIFICATION, ROUTE-REFRESH."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import groupby
from typing import Any

from tests.kit.bgp import attributes
from tests.kit.bgp.attributes import AFI, FAMILY, Route, attribute, nlri

MARKER = b"\xff" * 16
OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE_REFRESH = 1, 2, 3, 4, 5
HEADER = 19
SIZE, EXTENDED_SIZE = 4096, 65535  # bytes of a message: RFC 4271, RFC 8654

# Capability codes (IANA).
MULTIPROTOCOL, REFRESH, EXTENDED_NEXT_HOP, EXTENDED_MESSAGE, ROLE, WIDE_ASN = 1, 2, 5, 6, 9, 65
# Roles of RFC 9234: what the one who says it is to the other.
PROVIDER, ROUTE_SERVER, ROUTE_SERVER_CLIENT, CUSTOMER, PEER = 0, 1, 2, 3, 4
CEASE = 6
SHUTDOWN = 2  # cease: administrative shutdown (RFC 4486)


@dataclass(frozen=True, slots=True)
class Capability:
    """What a speaker says that it can (RFC 5492)."""

    code: int
    value: bytes = b""


def capabilities(
    asn: int,
    *,
    families: Iterable[int] = (4, 6),
    role: int | None = None,
    wide: bool = True,
    refresh: bool = True,
    extended_messages: bool = False,
    extended_next_hop: bool = True,
) -> tuple[Capability, ...]:
    """The usual ones: families, ASNs of 32 bits (``wide``), refresh, IPv4 over IPv6 (RFC 8950)."""
    found = [Capability(MULTIPROTOCOL, struct.pack("!HBB", AFI[v], 0, 1)) for v in families]
    if refresh:
        found.append(Capability(REFRESH))
    if extended_next_hop:
        found.append(Capability(EXTENDED_NEXT_HOP, struct.pack("!HHH", 1, 1, 2)))
    if extended_messages:
        found.append(Capability(EXTENDED_MESSAGE))
    if role is not None:
        found.append(Capability(ROLE, bytes((role,))))
    if wide:
        found.append(Capability(WIDE_ASN, struct.pack("!I", asn)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Open:
    """OPEN. ``asn`` is the one of four octets where there is one; ``hold`` in seconds."""

    asn: int
    hold: int
    router_id: IPv4Address
    capabilities: tuple[Capability, ...] = ()

    def can(self, code: int) -> bool:
        """Whether it names a capability."""
        return any(each.code == code for each in self.capabilities)

    @property
    def families(self) -> frozenset[int]:
        """Families of unicast: 4, 6."""
        afis = {each.value for each in self.capabilities if each.code == MULTIPROTOCOL}
        return frozenset(v for v in AFI if struct.pack("!HBB", AFI[v], 0, 1) in afis)

    @property
    def role(self) -> int | None:
        """The role of RFC 9234, if it names one."""
        return next((each.value[0] for each in self.capabilities if each.code == ROLE), None)


@dataclass(frozen=True, slots=True)
class Update:
    """UPDATE: prefixes withdrawn, routes announced, of either family."""

    withdrawn: tuple[str, ...] = ()
    announced: tuple[Route, ...] = ()
    end_of: int | None = None  # End-of-RIB for a family: 4 or 6 (RFC 4724)


@dataclass(frozen=True, slots=True)
class Notification:
    """NOTIFICATION: what ends a session."""

    code: int
    subcode: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class RouteRefresh:
    """ROUTE-REFRESH for a family; ``subtype`` 1 and 2 mark begin and end (RFC 7313)."""

    family: int
    subtype: int = 0


@dataclass(frozen=True, slots=True)
class Keepalive:
    """KEEPALIVE."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A message that could not be read, and why."""

    kind: int
    body: bytes
    reason: str


Message = Open | Update | Notification | RouteRefresh | Keepalive | Unreadable


# --- To bytes ------------------------------------------------------------------------------------


def message(kind: int, body: bytes = b"") -> bytes:
    """A message with its header."""
    return MARKER + struct.pack("!HB", HEADER + len(body), kind) + body


def encode_open(said: Open) -> bytes:
    """OPEN; all capabilities in one parameter."""
    coded = b"".join(
        struct.pack("!BB", each.code, len(each.value)) + each.value for each in said.capabilities
    )
    options = struct.pack("!BB", 2, len(coded)) + coded if coded else b""
    short = said.asn if said.asn < 65536 else attributes.AS_TRANS
    head = struct.pack("!BHH", 4, short, said.hold) + said.router_id.packed
    return message(OPEN, head + bytes((len(options),)) + options)


def encode_notification(said: Notification) -> bytes:
    """NOTIFICATION."""
    return message(NOTIFICATION, bytes((said.code, said.subcode)) + said.data)


def encode_refresh(said: RouteRefresh) -> bytes:
    """ROUTE-REFRESH."""
    return message(ROUTE_REFRESH, struct.pack("!HBB", AFI[said.family], said.subtype, 1))


def raw_update(attrs: bytes = b"", announced: bytes = b"", withdrawn: bytes = b"") -> bytes:
    """UPDATE from its three fields, whatever they hold."""
    head = struct.pack("!H", len(withdrawn)) + withdrawn
    return message(UPDATE, head + struct.pack("!H", len(attrs)) + attrs + announced)


def announcements(
    like: Route, prefixes: Iterable[str], *, size: int = SIZE, wide: bool = True
) -> Iterator[bytes]:
    """UPDATEs that announce prefixes (of one family) with the attributes of ``like``.

    As many in each as ``size`` bytes hold. IPv4 with an IPv4 next hop, or without any, goes the
    old way, all else as MP-BGP.
    """
    classic = like.family == 4 and (like.next_hop is None or _version(like) == 4)
    attrs = attributes.encode(like, None if classic else b"", wide)
    room = size - HEADER - 4 - len(attrs) - 1  # one for a length that grows by an octet
    for part in _packed(prefixes, room):
        if classic:
            yield raw_update(attrs, part)
        else:
            yield raw_update(attributes.encode(like, part, wide))


def updates(routes: Iterable[Route], *, size: int = SIZE, wide: bool = True) -> Iterator[bytes]:
    """UPDATEs for routes in their order; neighbors with the same attributes share one."""
    for _, same in groupby(routes, key=lambda each: (each.family, attributes.shared(each))):
        first, *others = same
        names = (each.prefix for each in (first, *others))
        yield from announcements(first, names, size=size, wide=wide)


def withdrawals(prefixes: Iterable[str], *, size: int = SIZE) -> Iterator[bytes]:
    """UPDATEs that withdraw prefixes in their order; IPv6 as MP-BGP."""
    for version, same in groupby(prefixes, key=attributes.family):
        for part in _packed(same, size - HEADER - 12):
            if version == 4:
                yield raw_update(withdrawn=part)
            else:
                lost = struct.pack("!HB", AFI[6], 1) + part
                yield raw_update(attribute(attributes.MP_UNREACH_NLRI, lost))


def end_of_rib(version: int) -> bytes:
    """The marker after the last route of a family (RFC 4724)."""
    if version == 4:
        return raw_update()
    return raw_update(attribute(attributes.MP_UNREACH_NLRI, struct.pack("!HB", AFI[6], 1)))


def _version(route: Route) -> int:
    hop = route.next_hop
    return 6 if isinstance(hop, tuple) or hop is None else hop.version


def _packed(prefixes: Iterable[str], room: int) -> Iterator[bytes]:
    """NLRI in pieces of at most ``room`` bytes, each with one prefix at least."""
    part: list[bytes] = []
    size = 0
    for prefix in prefixes:
        coded = nlri(prefix)
        if part and size + len(coded) > room:
            yield b"".join(part)
            part, size = [], 0
        part.append(coded)
        size += len(coded)
    if part:
        yield b"".join(part)


# --- From bytes ----------------------------------------------------------------------------------


def decode(kind: int, body: bytes, wide: bool = True) -> Message:
    """A message by its type and what follows the header."""
    try:
        return _decode(kind, body, wide)
    except (ValueError, IndexError, KeyError, struct.error) as error:
        return Unreadable(kind, body, f"{type(error).__name__}: {error}")


def _decode(kind: int, body: bytes, wide: bool) -> Message:
    if kind == KEEPALIVE:
        return Keepalive()
    if kind == UPDATE:
        return _update(body, wide)
    if kind == OPEN:
        return _open(body)
    if kind == NOTIFICATION:
        return Notification(body[0], body[1], body[2:])
    if kind == ROUTE_REFRESH:
        return RouteRefresh(FAMILY[int.from_bytes(body[:2], "big")], body[2])
    raise ValueError(f"no such type: {kind}")


def _open(body: bytes) -> Open:
    _version, asn, hold = struct.unpack("!BHH", body[:5])
    found = tuple(_capabilities(body[10 : 10 + body[9]]))
    for each in found:
        if each.code == WIDE_ASN:
            asn = int.from_bytes(each.value, "big")
    return Open(asn, hold, IPv4Address(body[5:9]), found)


def _capabilities(options: bytes) -> Iterator[Capability]:
    for kind, value in _pairs(options):
        if kind == 2:
            yield from (Capability(*pair) for pair in _pairs(value))


def _pairs(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        end = at + 2 + data[at + 1]
        yield data[at], data[at + 2 : end]
        at = end


def _update(body: bytes, wide: bool) -> Update:
    if body == bytes(4):
        return Update(end_of=4)
    lost = int.from_bytes(body[:2], "big")
    start = 4 + lost
    end = start + int.from_bytes(body[2 + lost : start], "big")
    if end > len(body):
        raise ValueError("the attributes end after the message")
    found = attributes.decode(body[start:end], wide)
    if body[start:end] and found.withdrawn_family and not found.withdrawn and not found.announced:
        return Update(end_of=found.withdrawn_family)
    fields: dict[str, Any] = dict(found.fields)
    named = (*attributes.prefixes(body[end:], 4), *found.announced)
    withdrawn = (*attributes.prefixes(body[2 : 2 + lost], 4), *found.withdrawn)
    return Update(withdrawn, tuple(Route(prefix=prefix, **fields) for prefix in named))
