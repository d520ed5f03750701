"""Listens on every interface of the host for packets to or from an address of a lab."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from itertools import zip_longest
from types import TracebackType

from mesh.lab.underlay import World
from mesh.plan.model import Address, Network

ETH_P_ALL = 0x0003


class Sniffer:
    """Listens while it is open. ``heard`` counts all frames: a deaf ear proves nothing.

    It knows the lab's very addresses: the host itself may live on a documentation prefix, and speak
    to others there. A client of the lab speaks to nodes only, so it counts as a source: what the
    host sends to such an address in its own name is another program's.
    """

    def __init__(self, world: World) -> None:
        self.heard = 0
        self.lab: list[str] = []
        self._own = frozenset(own_addresses(world))
        self._clients = frozenset(a for one in world.clients for a in (one.ipv4, one.ipv6))
        self._networks: tuple[Network, ...] = (*world.owned, *world.tunnels.both())
        self._stop = threading.Event()
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.settimeout(0.05)
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Sniffer:
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
                frame, origin = self._socket.recvfrom(256)
            except TimeoutError:
                continue
            self.heard += 1
            if self._is_of_the_lab(ends_of(frame)):
                self.lab.append(f"{time.strftime('%T')} {origin[0]}: {_described(frame)}")

    def _is_of_the_lab(self, ends: tuple[Address, ...]) -> bool:
        if ends and ends[0] in self._clients:
            return True
        return any(end in self._own or any(end in net for net in self._networks) for end in ends)


def own_addresses(world: World) -> Iterable[Address]:
    """Every address that a box of the world has, but for the clients'."""
    for uplink in world.nodes:
        yield from (uplink.ipv4, uplink.gateway4, *((uplink.ipv6,) if uplink.ipv6 else ()))
    for upstream in world.upstreams:
        yield upstream.gateway6
    for transit in world.transits:
        yield from (transit.exchange4, transit.exchange6)
    for client in world.clients:
        yield from (client.gateway4, client.gateway6)
    yield from (world.operator.ipv4, world.operator.ipv6)


def ends_of(frame: bytes) -> tuple[Address, ...]:
    """Source and destination of an Ethernet frame with IPv4, ARP or IPv6; empty for all else."""
    if len(frame) < 14:
        return ()
    kind, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if kind == 0x0800 and len(packet) >= 20:
        return IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    if kind == 0x0806 and len(packet) >= 28:
        return IPv4Address(packet[14:18]), IPv4Address(packet[24:28])
    if kind == 0x86DD and len(packet) >= 40:
        return IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    return ()


def _described(frame: bytes) -> str:
    """Both ends with their ports, the protocol, and how the packet begins: whose it is."""
    packet = frame[14:]
    start = 4 * (packet[0] & 15) if packet[0] >> 4 == 4 else 40
    protocol = packet[9 if packet[0] >> 4 == 4 else 6]
    ports: tuple[int, ...] = ()
    if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and len(packet) >= start + 4:
        ports = struct.unpack_from("!HH", packet, start)
    ends = [f"{end} port {port}" for end, port in zip_longest(ends_of(frame), ports, fillvalue="-")]
    return f"{' > '.join(ends)}, protocol {protocol}: {packet[start : start + 60].hex()}"
