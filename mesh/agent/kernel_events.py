"""Hints of the kernel that somebody changes what a generation has set up: a look comes sooner.

A hint is no truth: where the kernel's queue is full, words of it are lost. Nothing is asked and no
process runs for it; an idle node costs nothing. nftables says which process has changed it.
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
"""Groups of rtnetlink(7): RTNLGRP_*. Routes are BIRD's to keep, and change all the time."""
_NFTABLES = 7
"""The group NFNLGRP_NFTABLES."""
_NEW_GENERATION = 0x0A0F
"""NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN: ends each change, and says whose it was."""
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
    """Listens while it is open. Where the kernel does not let us, there are none."""

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
        """The process that has changed our tables last, as far as it is known."""

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
        """Whether something has changed, within so many seconds."""
        if not self._sockets:
            time.sleep(seconds)
            return False
        readable, _, _ = select.select(self._sockets, (), (), seconds)
        changed = [self._read(one) for one in readable]
        return any(changed)

    def forget(self) -> None:
        """What is told by now is of what we did ourselves."""
        for _ in range(_MANY):
            if not self._sockets or not select.select(self._sockets, (), (), 0)[0]:
                break
            self.wait(0)
        self.firewall = ""

    def _read(self, one: socket.socket) -> bool:
        try:
            data = one.recv(_BUFFER)
        except OSError:
            return True  # The queue was full: what was in it is lost.
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
