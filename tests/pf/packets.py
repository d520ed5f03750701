"""Packets, as firewalls see them and as bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "icmp6": 58}
TYPES = {
    "icmp": {"echorep": 0, "unreach": 3, "redir": 5, "echoreq": 8, "timex": 11, "paramprob": 12},
    "icmp6": {
        "unreach": 1, "toobig": 2, "timex": 3, "paramprob": 4, "echoreq": 128, "echorep": 129,
        "listqry": 130, "routersol": 133, "routeradv": 134, "neighbrsol": 135, "neighbradv": 136,
    },
}  # fmt: skip
"""Types by the names that pfctl has for them."""
REPLIES = ("echorep",)
DISCOVERY = ("routersol", "routeradv", "neighbrsol", "neighbradv")
"""Neighbor discovery (RFC 4861)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """A packet; ``kind`` is the type of ICMP. ``user`` sends it, where this machine does."""

    source: str
    destination: str
    protocol: str = "tcp"
    port: int = 0
    source_port: int = 40000
    flags: str = "S"
    kind: str = ""
    hops: int = 64
    user: int = 0
    size: int = 8000
    """The segment size that a SYN offers."""

    @property
    def family(self) -> int:
        """The IP version."""
        return ip_address(self.source).version

    @property
    def flow(self) -> tuple[str, str, int, str, int]:
        """What a state is known by."""
        ends = (self.source, self.source_port, self.destination, self.port)
        return (self.protocol, *ends) if self.protocol in ("tcp", "udp") else (
            self.protocol, self.source, 0, self.destination, 0
        )  # fmt: skip

    def answer(self, flags: str = "SA") -> Packet:
        """The other end's answer."""
        return Packet(
            source=self.destination, destination=self.source, protocol=self.protocol,
            port=self.source_port, source_port=self.port, flags=flags,
            kind="echorep" if self.kind == "echoreq" else self.kind,
        )  # fmt: skip

    def wire(self, token: bytes) -> bytes:
        """On the wire, with a token at its end."""
        source, destination = (ip_address(a).packed for a in (self.source, self.destination))
        number = NUMBERS[self.protocol]
        body = self._body(token)
        pseudo = source + destination + struct.pack("!LL", len(body), number)
        at = {"tcp": 16, "udp": 6, "icmp": 2, "icmp6": 2}.get(self.protocol)
        if at is not None:
            over = body if self.protocol == "icmp" else pseudo + body
            body = body[:at] + struct.pack("!H", _checksum(over) or 0xFFFF) + body[at + 2 :]
        if self.family == 6:
            head = struct.pack("!LHBB", 6 << 28, len(body), number, self.hops)
            return head + source + destination + body
        length = 20 + len(body)
        head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0x4000, self.hops, number, 0)
        head += source + destination
        return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + body

    def _body(self, token: bytes) -> bytes:
        if self.protocol == "tcp":
            flags = sum({"F": 1, "S": 2, "R": 4, "A": 16}[each] for each in self.flags)
            options = struct.pack("!BBH", 2, 4, self.size) if "S" in self.flags else b""
            offset = (20 + len(options)) << 2
            head = struct.pack(
                "!HHLLBBHHH", self.source_port, self.port, 1, 0, offset, flags, 512, 0, 0
            )
            return head + options + token
        if self.protocol == "udp":
            return struct.pack("!HHHH", self.source_port, self.port, 8 + len(token), 0) + token
        if self.protocol in TYPES:
            head = struct.pack("!BBHHH", TYPES[self.protocol][self.kind], 0, 0, self.source_port, 1)
            if self.kind in ("neighbrsol", "neighbradv"):
                head += ip_address(self.destination).packed
            return head + token
        return struct.pack("!HH", 0, 0x0800) + token


def _checksum(data: bytes) -> int:
    """Of the Internet (RFC 1071)."""
    even = data + bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(even) // 2}H", even))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment_size(data: bytes) -> int | None:
    """The segment size in a SYN, if it has one as its first option."""
    start = 40 if data[0] >> 4 == 6 else (data[0] & 15) * 4
    if len(data) < start + 24 or data[start + 12] >> 4 < 6 or data[start + 20] != 2:
        return None
    (size,) = struct.unpack("!H", data[start + 22 : start + 24])
    return int(size)
