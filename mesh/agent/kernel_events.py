"""Notifications of the kernel about changes, so that a repair looks sooner.

They are not complete: a full queue loses some. They need no polling and no process. Those of
nftables name the process that made the change.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from types import TracebackType
from typing import Self

_NETLINK_ROUTE, _NETLINK_NETFILTER = 0, 12
_LINK, _ADDRESS4, _ADDRESS6, _RULE4, _RULE6 = 1, 5, 9, 8, 19
"""Groups of rtnetlink(7): RTNLGRP_*. BIRD keeps the routes, which change all the time."""
_NFTABLES = 7
"""The group NFNLGRP_NFTABLES."""
_NEW_GENERATION = 0x0A0F
"""NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN: ends each change, and names its process."""
_PID, _NAME = 2, 3
"""Its attributes NFTA_GEN_PROC_PID and NFTA_GEN_PROC_NAME."""
_TABLE = 1
"""The attribute of all other messages of nftables that names the table."""
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TABLES = (b"mesh", b"mesh_discard")
_BUFFER = 1 << 16
_MANY = 1000


class KernelEvents:
    """Receives notifications while it is open; none without the permission."""

    def __init__(self) -> None:
        self._sockets = [
            one
            for one in (
                _socket(_NETLINK_ROUTE, _LINK, _ADDRESS4, _ADDRESS6, _RULE4, _RULE6),
                _socket(_NETLINK_NETFILTER, _NFTABLES),
            )
            if one is not None
        ]
        self._ours = False
        self.firewall = ""
        """The process that last changed our tables; empty if unknown."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in self._sockets:
            one.close()

    def wait(self, seconds: float) -> bool:
        """Waits; whether something has changed within that many seconds."""
        if not self._sockets:
            time.sleep(seconds)
            return False
        readable, _, _ = select.select(self._sockets, (), (), seconds)
        changed = [self._read(one) for one in readable]
        return any(changed)

    def forget(self) -> None:
        """Discards the notifications so far, which are about our own changes."""
        for _ in range(_MANY):
            if not self._sockets or not select.select(self._sockets, (), (), 0)[0]:
                break
            self.wait(0)
        self.firewall = ""

    def _read(self, one: socket.socket) -> bool:
        try:
            data = one.recv(_BUFFER)
        except OSError:
            return True  # The queue was full, and notifications are lost.
        if one.proto == _NETLINK_ROUTE:
            return True
        for kind, payload in _messages(data):
            attributes = _attributes(payload[4:])
            if kind != _NEW_GENERATION:
                self._ours |= attributes.get(_TABLE, b"").rstrip(b"\0") in _TABLES
            elif self._ours:
                self._ours, self.firewall = False, _process(attributes) or self.firewall
                return True
        return False


def _socket(protocol: int, *groups: int) -> socket.socket | None:
    try:
        one = socket.socket(
            socket.AF_NETLINK,
            socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
            protocol,
        )
    except OSError:
        return None
    try:
        one.bind((0, sum(1 << (group - 1) for group in groups)))
    except OSError:
        one.close()
        return None
    return one


def _messages(data: bytes) -> list[tuple[int, bytes]]:
    """The kinds and payloads of netlink's messages."""
    found: list[tuple[int, bytes]] = []
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            break
        found.append((kind, data[_HEADER.size : length]))
        data = data[(length + 3) & ~3 :]
    return found


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            break
        found[kind & 0x3FFF] = data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]
    return found


def _process(attributes: dict[int, bytes]) -> str:
    name = attributes.get(_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
    pid = int.from_bytes(attributes.get(_PID, b""), "big")
    return f"{name} (process {pid})" if name else ""
