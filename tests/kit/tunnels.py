"""Tunnels between namespaces, as WireGuard's are to the kernel: interfaces without Ethernet, on
which a packet goes in here and comes out there."""

from __future__ import annotations

import fcntl
import os
import selectors
import struct
import threading
from contextlib import suppress
from functools import partial

from mesh.lab import namespaces
from mesh.netns import inside

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 1420


class Tunnels:
    """Tunnels, until they are closed. A packet of more than ``most`` bytes does not come out."""

    def __init__(self) -> None:
        self.most = MTU
        self._peers: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()
        self._stop, self._stopping = os.pipe()
        self._selector.register(self._stop, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def between(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """A tunnel between two namespaces, each with its interface's name."""
        ends = [inside(space, partial(_opened, name)) for space, name in (one, other)]
        for space, name in (one, other):
            namespaces.ip([f"link set {name} mtu {MTU} up"], space)
        self._peers |= {ends[0]: ends[1], ends[1]: ends[0]}
        for end in ends:
            self._selector.register(end, selectors.EVENT_READ)

    def close(self) -> None:
        """Ends all of them."""
        os.close(self._stopping)
        self._thread.join()
        self._selector.close()
        for file in (self._stop, *self._peers):
            os.close(file)

    def _carry(self) -> None:
        while True:
            for event, _ in self._selector.select():
                if event.fd == self._stop:
                    return
                with suppress(OSError):
                    packet = os.read(event.fd, 65536)
                    if len(packet) <= self.most:
                        os.write(self._peers[event.fd], packet)


def _opened(name: str) -> int:
    """A tunnel's end in this namespace (Linux, Documentation/networking/tuntap.rst)."""
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return end
