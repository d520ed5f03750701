"""Clients of every city that connect to an anycast address each 10 ms, over both families.

One connection is a TCP handshake, which the node's kernel and its firewall answer: that takes so
little of the machine that a hundred in a second from each city and family do not slow down what is
measured. ICMP would not do, since the nodes' firewalls limit it.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mesh import netns
from mesh.lab.lab_files import files_of
from mesh.lab.underlay import Client
from mesh.plan.model import Address

EVERY = 0.01
DEADLINE = 0.9
"""Seconds: less than TCP's first retransmission after one second (RFC 6298)."""
PORT = 80
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection ends with a reset, and leaves nothing behind."""


@dataclass(slots=True)
class Heard:
    """What a client's connections to one address came to; ``lost`` are the moments (monotonic
    seconds) of those without an answer."""

    city: str
    address: Address
    sent: int = 0
    lost: list[float] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """Seconds from the first to the last connection of the longest row that was lost."""
        longest, first, last = 0.0, 0.0, 0.0
        for moment in sorted(self.lost):
            first = moment if moment - last > 1.5 * EVERY else first
            last = moment
            longest = max(longest, last - first + EVERY)
        return longest


@dataclass(slots=True)
class _Connection:
    line: socket.socket
    since: float
    heard: Heard

    def end(self, *, answered: bool) -> None:
        if not answered:
            self.heard.lost.append(self.since)
        self.line.close()

    def is_late(self) -> bool:
        """Whether it was answered after its deadline only; who looked too late does not count."""
        info = self.line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return bool(struct.unpack_from("I", info, 100)[0])  # tcpi_total_retrans of tcp(7)


@contextmanager
def connecting(
    lab: str, clients: Sequence[Client], addresses: Sequence[Address]
) -> Iterator[tuple[Heard, ...]]:
    """Every client connects to every address until the end."""
    over = threading.Event()
    heard = {
        client.box: [Heard(client.region, address) for address in addresses] for client in clients
    }
    threads = [
        threading.Thread(target=_go_on, args=(lab, box, own, over), daemon=True)
        for box, own in heard.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield tuple(one for own in heard.values() for one in own)
    finally:
        over.set()
        for thread in threads:
            thread.join(10)


def _go_on(lab: str, box: str, heard: Sequence[Heard], over: threading.Event) -> None:
    netns.inside(files_of(lab).namespace(box), lambda: _connect(heard, over))


def _connect(heard: Sequence[Heard], over: threading.Event) -> None:
    poll, pending = select.epoll(), dict[int, _Connection]()
    due = time.monotonic()
    while pending or not over.is_set():
        now = time.monotonic()
        if now >= due and not over.is_set():
            # By the clock; ticks that are over are left out, and come in no burst.
            due += EVERY * (1 + int((now - due) / EVERY))
            for one in heard:
                _begin(one, now, poll, pending)
        _settle(poll, pending, max(0.0, due - time.monotonic()))
    poll.close()


def _begin(one: Heard, now: float, poll: select.epoll, pending: dict[int, _Connection]) -> None:
    family = socket.AF_INET6 if one.address.version == 6 else socket.AF_INET
    line = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection = _Connection(line, now, one)
    one.sent += 1
    try:
        line.connect((str(one.address), PORT))
    except BlockingIOError:
        poll.register(line, select.EPOLLOUT)
        pending[line.fileno()] = connection
    except OSError:
        connection.end(answered=False)
    else:
        connection.end(answered=True)


def _settle(poll: select.epoll, pending: dict[int, _Connection], seconds: float) -> None:
    for number, _ in poll.poll(seconds):
        connection = pending.pop(number)
        # A process that is just being started may still hold it, and closing would not be enough.
        poll.unregister(number)
        refused = connection.line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        connection.end(answered=not refused and not connection.is_late())
    now = time.monotonic()
    for number, connection in list(pending.items()):
        if now - connection.since <= DEADLINE:
            break
        if connection.is_late() or now - connection.since > 2 * DEADLINE:
            poll.unregister(number)
            pending.pop(number).end(answered=False)
