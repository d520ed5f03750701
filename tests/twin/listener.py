"""Listens on every interface of the machine for packets that belong to a lab."""

from __future__ import annotations

import socket
import struct
import threading
from ipaddress import IPv4Address, IPv6Address, ip_network
from types import TracebackType

ETH_P_ALL = 0x0003
PACKET_OUTGOING = 4

LAB_PREFIXES = tuple(
    ip_network(text)
    for text in (
        "192.30.120.0/23",
        "2620:71:4000::/48",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "2001:db8::/32",
        "10.10.10.0/24",
        "fd00:10:10::/48",
        "2001:19f0:ffff::1/128",
        "169.254.169.254/32",
    )
)


def addresses(frame: bytes) -> tuple[IPv4Address | IPv6Address, ...]:
    """Source and destination of an Ethernet frame that carries IP; empty for all else."""
    kind, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if kind == 0x0800 and len(packet) >= 20:
        return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    if kind == 0x86DD and len(packet) >= 40:
        return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return ()


class Listener:
    """Hears what the machine's own interfaces carry; ``lab`` holds what should not be there."""

    def __init__(self) -> None:
        self.frames = 0
        self.lab: list[str] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.settimeout(0.2)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                frame, origin = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            self.frames += 1
            ends = addresses(frame) if len(frame) > 34 else ()
            if any(end in prefix for end in ends for prefix in LAB_PREFIXES):
                self.lab.append(f"{origin[0]}: {' > '.join(map(str, ends))}")
