"""Sockets of health checks: they ask one instance of a service, and never another one's."""

from __future__ import annotations

import socket
import sys
import time
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from mesh.services.checks.check import Target

OWN = "lo"
"""The device of questions to this node's own instance."""
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
# Not in Python's socket module (linux/in.h, linux/in6.h).
_IP_BIND_ADDRESS_NO_PORT = 24
_IP_RECVERR = 11
_IPV6_RECVERR = 25


class Deadline:
    """When a question has to be answered."""

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then; TimeoutError when it has passed."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def connected(target: Target, port: int, deadline: Deadline) -> socket.socket:
    """A TCP connection to the instance."""
    made = _opened(target, socket.SOCK_STREAM)
    try:
        made.settimeout(deadline.left())
        made.connect((written(target.address), port))
    except BaseException:
        made.close()
        raise
    return made


def datagrams(target: Target) -> socket.socket:
    """A UDP socket for questions to the instance. It is not connected, so that it gets an answer
    from a wrong source as well."""
    made = _opened(target, socket.SOCK_DGRAM)
    if sys.platform != "linux":
        return made
    # A port that nobody listens on is an error then, as with a connected socket.
    if target.address.version == 4:
        made.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    return made


def datagram(asking: socket.socket, target: Target, port: int, deadline: Deadline) -> bytes:
    """The next datagram from where the instance's answers have to come from; WrongSource where one
    comes from elsewhere."""
    asking.settimeout(deadline.left())
    data, source = asking.recvfrom(65535)
    if source[:2] != (written(target.address), port):
        raise WrongSource(f"the answer came from {_source(source[0], source[1], target, port)}")
    return data


@lru_cache(maxsize=1024)
def written(address: IPv4Address | IPv6Address) -> str:
    """An address as text; for IPv6 that takes Python as long as all else of a question."""
    return str(address)


class WrongSource(Exception):
    """An answer came from another address or port than the one that was asked."""


def _source(address: str, port: int, target: Target, asked: int) -> str:
    return address if address != written(target.address) else f"port {port} in place of {asked}"


def said(idle: socket.socket) -> int | None:
    """How many bytes the other end of a connection has sent, of which some are dropped now; None
    where it has ended it."""
    idle.setblocking(False)
    try:
        return len(idle.recv(4096)) or None
    except BlockingIOError:
        return 0
    except OSError:
        return None


def _opened(target: Target, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(_FAMILY[target.address.version], kind)
    try:
        if sys.platform == "linux":
            # By this device alone: where the address is not on `lo`, the question fails, and is not
            # answered by another node. On OpenBSD the source below has that effect: what comes from
            # 127.0.0.1 or ::1 leaves by no other interface (ip_output.c, ip6_output.c).
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, target.device.encode())
            if target.mark:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, target.mark)
        if target.device == OWN:
            if kind == socket.SOCK_STREAM and sys.platform == "linux":
                # Ports are shared between destinations: connections in TIME_WAIT take none away.
                made.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            # Without it the source would be the service's address, and an answer from a wrong
            # address would not be seen.
            made.bind((_LOOPBACK[target.address.version], 0))
    except BaseException:
        made.close()
        raise
    return made
