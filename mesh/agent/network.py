"""What the agent asks of a node's kernel about its network, and how it changes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Uplink:
    """The uplink of one address family: interface, main address, gateway (None without one)."""

    interface: str
    address: str
    gateway: str | None


class Network(Protocol):
    """The network of a node. Methods raise :class:`mesh.agent.host.CommandFailed` where the system
    does not answer."""

    def uplink(self, version: int) -> Uplink | None:
        """The uplink of a family: the best default route, and the main address of its
        interface."""
        ...

    def mtu(self, interface: str) -> int:
        """The MTU of an interface."""
        ...

    def addresses(self, interface: str) -> frozenset[str] | None:
        """Addresses on an interface, without link-local ones; None if it does not exist."""
        ...

    def tunnel_routes(self) -> frozenset[str]:
        """The addresses to which the kernel has a host route through a tunnel."""
        ...

    def served(self) -> frozenset[str] | None:
        """The services' addresses that this node serves; None if that cannot be while something is
        missing."""
        ...

    def serve(self, add: Collection[str], remove: Collection[str]) -> str:
        """Begins and ends to serve addresses; why some of it was refused, or empty."""
        ...

    def discarded(self) -> Mapping[str, int] | None:
        """The addresses whose packets are discarded, with the seconds left; None if there is no
        place for them."""
        ...

    def discard(self, add: Mapping[str, int], remove: Collection[str]) -> str:
        """Begins to discard packets for these addresses, for so many seconds each, and ends it for
        others; why that was refused, or empty."""
        ...
