"""Echo requests that leave by a chosen interface, and the answers to them.

A ping goes where the kernel's routes lead, and its answer passes this node's firewall. Here both
are packet sockets (packet(7)): a request is handed to an interface and a next hop whatever the
routes are, and an answer is read before this node's own firewall. So what they show is what other
nodes do, not this one.
"""

from __future__ import annotations

import ctypes
import fcntl
import secrets
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

ETHER_TYPES = {4: 0x0800, 6: 0x86DD}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_HEADER = {4: 20, 6: 40}
_PROTOCOL = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_FRAGMENT, _FRAGMENT_HEADER = 44, 8
_DONT_FRAGMENT, _OFFSET4, _OFFSET6 = 0x4000, 0x1FFF, 0xFFF8
_MESSAGE = 8
"""Bytes of an echo's own header."""
TOKEN = 8
"""Random bytes at the start of a request's payload, which its answer repeats."""
LEAST = 1280
"""Bytes that every link of the mesh takes in one packet (RFC 8200, section 5)."""
_SNAP = 256
"""Bytes of an answer that are read: headers and token."""
MOST = 1024
"""Answers of a family that are read at a time."""
_SO_ATTACH_FILTER, _SIOCGIFMTU = 26, 0x8921
_MAX_SEQUENCE = 2**16


@dataclass(frozen=True, slots=True)
class Way:
    """An interface that packets are handed to; ``mac`` is the next hop's where it is Ethernet."""

    interface: str
    mac: bytes = b""


@dataclass(frozen=True, slots=True)
class Echo:
    """An echo request of ``size`` bytes that nobody may fragment. Without a ``way`` it goes where
    the kernel's routes lead."""

    source: Address
    target: Address
    size: int = LEAST
    way: Way | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An echo reply."""

    source: Address
    target: Address
    sequence: int
    token: bytes


class Echoes:
    """Sends echo requests and reads the answers to them, until it is closed. OSError where this
    process may have no such sockets."""

    def __init__(self) -> None:
        self.identifier = secrets.randbelow(2**16)
        self._sequence = secrets.randbelow(_MAX_SEQUENCE)
        with ExitStack() as opened:
            self._by_routes = {v: opened.enter_context(_by_routes(v)) for v in FAMILIES}
            # With protocol 0 it receives nothing: it only sends.
            self._by_way = opened.enter_context(
                socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, 0)
            )
            self.readers = tuple(
                opened.enter_context(_reader(v, self.identifier)) for v in FAMILIES
            )
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Closes the sockets."""
        self._opened.close()

    def send(self, echo: Echo, token: bytes) -> int:
        """Sends a request; its sequence number. OSError where it cannot be sent."""
        self._sequence = (self._sequence + 1) % _MAX_SEQUENCE
        packet = request(echo, self.identifier, self._sequence, token)
        version, way = echo.target.version, echo.way
        if way is None:
            self._by_routes[version].sendto(packet, (str(echo.target), 0))
        else:
            self._by_way.sendto(packet, (way.interface, ETHER_TYPES[version], 0, 0, way.mac))
        return self._sequence

    def received(self) -> Iterator[Answer]:
        """The answers that have come in, to whichever of the requests."""
        for reader in self.readers:
            with suppress(BlockingIOError):
                # Not for ever: whoever guesses the identifier could keep this process busy.
                for _ in range(MOST):
                    packet = reader.recv(_SNAP)
                    if (answer := reply(packet, self.identifier)) is not None:
                        yield answer


def mtu(interface: str) -> int:
    """The MTU of an interface (netdevice(7)); OSError where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        asked = struct.pack("16s16x", interface.encode())
        answer = fcntl.ioctl(any_, _SIOCGIFMTU, asked)
    (found,) = struct.unpack_from("i", answer, 16)
    return int(found)


def request(echo: Echo, identifier: int, sequence: int, token: bytes) -> bytes:
    """The whole packet of a request."""
    version = echo.target.version
    length = echo.size - _HEADER[version]
    addresses = echo.source.packed + echo.target.packed
    head = struct.pack("!BxHHH", _REQUEST[version], 0, identifier, sequence) + token
    pseudo = addresses + struct.pack("!I3xB", length, _PROTOCOL[6]) if version == 6 else b""
    # What follows are zeros, which do not count.
    sum_ = struct.pack("!H", checksum(pseudo + head))
    message = (head[:2] + sum_ + head[4:]).ljust(length, b"\0")
    if version == 6:
        return struct.pack("!IHBB", 6 << 28, length, _PROTOCOL[6], 64) + addresses + message
    parts = struct.pack("!BxHHHBB", 0x45, echo.size, 0, _DONT_FRAGMENT, 64, _PROTOCOL[4])
    sum_ = struct.pack("!H", checksum(parts + addresses))
    return parts + sum_ + addresses + message


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def reply(packet: bytes, identifier: int) -> Answer | None:
    """The answer in a packet from its IP header on; None for any other packet. A first fragment is
    one too: a node whose end of the tunnel is smaller fragments what it sends."""
    try:
        version = packet[0] >> 4
        if version == 4:
            start = 4 * (packet[0] & 0xF)
            (place,) = struct.unpack_from("!H", packet, 6)
            protocol, first = packet[9], not place & _OFFSET4
            source: Address = IPv4Address(packet[12:16])
            target: Address = IPv4Address(packet[16:20])
        elif version == 6:
            start, protocol, first = _HEADER[6], packet[6], True
            source, target = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
            if protocol == _FRAGMENT:
                (place,) = struct.unpack_from("!H", packet, start + 2)
                protocol, first = packet[start], not place & _OFFSET6
                start += _FRAGMENT_HEADER
        else:
            return None
        kind, code, _, whose, sequence = struct.unpack_from("!BBHHH", packet, start)
    except (IndexError, struct.error, ValueError):
        return None
    token = packet[start + _MESSAGE : start + _MESSAGE + TOKEN]
    asked = (protocol, kind, code, whose) == (_PROTOCOL[version], _REPLY[version], 0, identifier)
    return Answer(source, target, sequence, token) if first and asked else None


def _by_routes(version: int) -> socket.socket:
    """A socket that sends whole packets where the routes lead, and receives none."""
    return socket.socket(
        FAMILIES[version], socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_RAW
    )


def _reader(version: int, identifier: int) -> socket.socket:
    """A socket that receives the echo replies of a family with this identifier, on all
    interfaces."""
    ether_type = socket.htons(ETHER_TYPES[version])
    made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, ether_type)
    try:
        code = _filter(version, identifier)
        kept = ctypes.create_string_buffer(code)
        program = struct.pack("HP", len(code) // 8, ctypes.addressof(kept))
        made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    except OSError:
        made.close()
        raise
    return made


_LOAD8, _LOAD16, _LENGTH4, _LOAD8X, _LOAD16X = 0x30, 0x28, 0xB1, 0x50, 0x48
_EQUAL, _ANY, _RETURN = 0x15, 0x45, 0x06
_NEXT, _PASS, _DROP = "next", "pass", "drop"
_Line = tuple[int, int, str, str]
"""An instruction (bpf(4)), its number, and what comes after it: if a test is true, and if not."""


def _filter(version: int, identifier: int) -> bytes:
    """A filter for the kernel: without it, each packet that comes into the node would wake this
    process."""
    tests = _tests4(identifier) if version == 4 else _tests6(identifier)
    ends = {_PASS: len(tests), _DROP: len(tests) + 1}
    lines = [
        struct.pack("HBBI", code, *(_skipped(place, to, ends) for to in (yes, no)), number)
        for place, (code, number, yes, no) in enumerate(tests)
    ]
    return b"".join([*lines, *(struct.pack("HBBI", _RETURN, 0, 0, n) for n in (_SNAP, 0))])


def _skipped(place: int, to: str, ends: Mapping[str, int]) -> int:
    """How many instructions a jump skips: to an end, by so many as ``to`` says, or none."""
    if to == _NEXT:
        return 0
    return ends[to] - place - 1 if to in ends else int(to)


def _load(code: int, place: int) -> _Line:
    return code, place, _NEXT, _NEXT


def _tests4(identifier: int) -> list[_Line]:
    return [
        _load(_LOAD8, 9), (_EQUAL, _PROTOCOL[4], _NEXT, _DROP),
        _load(_LOAD16, 6), (_ANY, _OFFSET4, _DROP, _NEXT),
        _load(_LENGTH4, 0),
        _load(_LOAD8X, 0), (_EQUAL, _REPLY[4], _NEXT, _DROP),
        _load(_LOAD16X, 4), (_EQUAL, identifier, _PASS, _DROP),
    ]  # fmt: skip


def _tests6(identifier: int) -> list[_Line]:
    message, fragment = _HEADER[6], _HEADER[6] + _FRAGMENT_HEADER
    whole: list[_Line] = [
        _load(_LOAD8, message), (_EQUAL, _REPLY[6], _NEXT, _DROP),
        _load(_LOAD16, message + 4), (_EQUAL, identifier, _PASS, _DROP),
    ]  # fmt: skip
    return [
        _load(_LOAD8, 6), (_EQUAL, _FRAGMENT, _NEXT, str(8)),
        _load(_LOAD8, message), (_EQUAL, _PROTOCOL[6], _NEXT, _DROP),
        _load(_LOAD16, message + 2), (_ANY, _OFFSET6, _DROP, _NEXT),
        _load(_LOAD8, fragment), (_EQUAL, _REPLY[6], _NEXT, _DROP),
        _load(_LOAD16, fragment + 4), (_EQUAL, identifier, _PASS, _DROP),
        (_EQUAL, _PROTOCOL[6], _NEXT, _DROP), *whole,
    ]  # fmt: skip
