"""HTTP calls to several nodes side by side, in one thread, with one end for all of them.

Each node is called at its first tunnel address, and at the next one where that does not connect
soon. What comes back is bytes of another machine: bounded here, and parsed by the caller.
"""

from __future__ import annotations

import os
import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from errno import ECONNREFUSED, EINPROGRESS

from mesh.glass.network import Address

SECONDS = 2.0
"""From the first call to the end of all."""
MAX_BYTES = 256 << 10
"""Of one node's response."""
AT_ONCE = 64
"""Nodes that are called at the same time."""
NEXT = 0.25
"""Seconds without a connection after which the next address is tried."""
_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"^content-length: *(\d{1,9})$", re.IGNORECASE | re.MULTILINE)
_JSON = re.compile(rb"^content-type: *application/json\b", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from a node: ``body`` of a response in JSON with that status, or ``why`` there
    is none; and after how many milliseconds."""

    status: int = 0
    body: bytes = b""
    why: str = ""
    took_ms: float = 0.0


@dataclass
class _Call:
    """One node: the addresses that are still to be tried, and what has come."""

    name: str
    addresses: list[Address]
    next_at: float
    connected: bool = False
    sockets: list[socket.socket] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    error: str = ""
    reply: Reply | None = None


def call(
    nodes: Mapping[str, Iterable[Address]], port: int, target: str, seconds: float = SECONDS
) -> dict[str, Reply]:
    """``GET target`` at each of these nodes, given by their addresses."""
    calls = _Calls(port, target, seconds)
    return calls.replies({name: list(addresses) for name, addresses in nodes.items()})


class _Calls:
    def __init__(self, port: int, target: str, seconds: float) -> None:
        self._port, self._target, self._seconds = port, target, seconds
        self._begin = time.monotonic()
        self._end = self._begin + seconds

    def replies(self, nodes: Mapping[str, list[Address]]) -> dict[str, Reply]:
        calls = [_Call(name, addresses, self._begin) for name, addresses in nodes.items()]
        with selectors.DefaultSelector() as selector:
            try:
                while (now := time.monotonic()) < self._end:
                    self._try_next(calls, selector, now)
                    if not any(_open(calls)):
                        break
                    for key, _ in selector.select(self._pause(calls, now)):
                        one, connection, address = key.data
                        self._happened(one, connection, address, selector)
            finally:
                for each in calls:
                    self._close(each, selector)
        return {each.name: each.reply or self._late(each) for each in calls}

    def _pause(self, calls: Iterable[_Call], now: float) -> float:
        begun = [each for each in _open(calls) if each.sockets and not each.connected]
        nexts = [each.next_at for each in begun if each.addresses]
        return max(0.0, min([self._end, *nexts]) - now)

    def _late(self, one: _Call) -> Reply:
        what = "its answer does not end" if one.received else "no answer"
        return Reply(why=f"{what} within {self._seconds:g} s", took_ms=self._seconds * 1000)

    def _try_next(
        self, calls: Iterable[_Call], selector: selectors.BaseSelector, now: float
    ) -> None:
        called = sum(bool(each.sockets) for each in _open(calls))
        for one in _open(calls):
            if not one.sockets:
                if called >= AT_ONCE:
                    continue
                called += 1
            while not one.connected and one.addresses and now >= one.next_at:
                one.next_at = now + NEXT
                if not self._connect(one, one.addresses.pop(0), selector):
                    one.next_at = now
            if not one.connected and not one.addresses and not one.sockets:
                self._end_of(one, Reply(why=one.error or "it has no address"))

    def _connect(self, one: _Call, address: Address, selector: selectors.BaseSelector) -> bool:
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        try:
            connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            one.error = _why(error)
            return False
        code = connection.connect_ex((str(address), self._port))
        if code not in (0, EINPROGRESS):
            one.error = _why(OSError(code, ""))
            connection.close()
            return False
        one.sockets.append(connection)
        selector.register(connection, selectors.EVENT_WRITE, (one, connection, address))
        return True

    def _happened(
        self, one: _Call, connection: socket.socket, address: Address,
        selector: selectors.BaseSelector,
    ) -> None:  # fmt: skip
        if one.reply is not None or connection not in one.sockets:
            return
        try:
            if one.connected:
                self._receive(one, connection)
            else:
                self._ask(one, connection, address, selector)
        except BlockingIOError:
            return
        except OSError as error:
            one.error = _why(error)
            self._drop(one, connection, selector)
            one.next_at = time.monotonic()
            if one.connected:
                self._end_of(one, Reply(why=one.error))
        if one.reply is not None:
            self._close(one, selector)

    def _ask(
        self, one: _Call, connection: socket.socket, address: Address,
        selector: selectors.BaseSelector,
    ) -> None:  # fmt: skip
        if code := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(code, "")
        host = f"[{address}]" if address.version == 6 else str(address)
        head = f"GET {self._target} HTTP/1.1\r\nHost: {host}:{self._port}\r\n\r\n"
        # A new connection's buffer holds more than a request may have.
        connection.sendall(head.encode("ascii"))
        one.connected = True
        for other in [each for each in one.sockets if each is not connection]:
            self._drop(one, other, selector)
        selector.modify(connection, selectors.EVENT_READ, (one, connection, address))

    def _receive(self, one: _Call, connection: socket.socket) -> None:
        received = connection.recv(65536)
        one.received += received
        if len(one.received) > MAX_BYTES:
            self._end_of(one, Reply(why=f"it sends more than {MAX_BYTES >> 10} KiB"))
        elif not received:
            self._end_of(one, _read(bytes(one.received)))

    def _end_of(self, one: _Call, reply: Reply) -> None:
        took = (time.monotonic() - self._begin) * 1000
        one.reply = Reply(reply.status, reply.body, reply.why, round(took, 1))

    def _drop(
        self, one: _Call, connection: socket.socket, selector: selectors.BaseSelector
    ) -> None:
        with suppress(KeyError, ValueError):
            selector.unregister(connection)
        if connection in one.sockets:
            one.sockets.remove(connection)
        connection.close()

    def _close(self, one: _Call, selector: selectors.BaseSelector) -> None:
        for connection in list(one.sockets):
            self._drop(one, connection, selector)


def _open(calls: Iterable[_Call]) -> Iterator[_Call]:
    return (each for each in calls if each.reply is None)


def _why(error: OSError) -> str:
    if error.errno == ECONNREFUSED:
        return "its looking glass does not run"
    text = os.strerror(error.errno) if error.errno else "the connection failed"
    return text[:1].lower() + text[1:]


def _read(response: bytes) -> Reply:
    """The status and the body of a whole response in JSON."""
    head, separator, body = response.partition(b"\r\n\r\n")
    status = _STATUS.match(head)
    if status is None or not separator:
        return Reply(why="its answer is no HTTP" if response else "it answers nothing")
    head = head.replace(b"\r\n", b"\n")
    length = _LENGTH.search(head)
    if length is None or int(length[1]) != len(body):
        return Reply(why="its answer is cut off")
    if _JSON.search(head) is None:
        return Reply(why=f"its answer is no JSON (status {int(status[1])})")
    return Reply(int(status[1]), body)
