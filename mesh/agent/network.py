"""What the agent asks of a node's kernel about its network, and how it changes it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

LONGEST = 7 * 86400
"""Longest time for which an address is discarded, in seconds; no order is for longer."""
ENDLESS = -LONGEST
"""Stands for the time left of an address that is discarded without an end: it differs from every
wanted time, so that a wanted address is discarded anew with its own."""


@dataclass(frozen=True, slots=True)
class Uplink:
    """The uplink of one address family: interface, main address, gateway (None without one)."""

    interface: str
    address: str
    gateway: str | None


@dataclass(frozen=True, slots=True)
class Discards:
    """The addresses whose packets are discarded, with the seconds left; and how many packets were,
    since the rules were loaded."""

    left: Mapping[str, int]
    packets: int = 0


class Network(Protocol):
    """The network of a node. Methods raise :class:`mesh.agent.host.CommandFailed` where the system
    does not answer. ``interface`` is the one that the generation names for what is served
    (:attr:`mesh.agent.config.Config.interface`)."""

    @property
    def always(self) -> str:
        """The interface that has the addresses of this node's services whether they are served or
        not."""
        ...

    def uplink(self, version: int) -> Uplink | None:
        """The uplink of a family: the best default route, and the main address of its interface;
        None without one."""
        ...

    def mtu(self, interface: str) -> int | None:
        """The MTU of an interface; None if it is unknown."""
        ...

    def has_wireguard(self) -> bool:
        """Whether the kernel has WireGuard."""
        ...

    def addresses(self, interface: str) -> frozenset[str] | None:
        """Addresses on an interface, without link-local ones; None if it does not exist."""
        ...

    def tunnel_routes(self) -> frozenset[str]:
        """The addresses to which the kernel has a host route through a tunnel."""
        ...

    def served(self, interface: str) -> frozenset[str] | None:
        """The addresses that this node serves, its own among them where the system does not tell
        them apart; None while nothing can be served."""
        ...

    def serve(self, interface: str, add: Collection[str], remove: Collection[str]) -> str:
        """Begins and ends to serve addresses; why some of it was refused, or empty."""
        ...

    def named(self, address: str, interface: str) -> str:
        """How a report names an address that is served."""
        ...

    def end_service(self) -> None:
        """Ends to serve whatever this node serves, and to discard what would not end by itself.
        Needs neither packages nor a configuration that this version can read."""
        ...

    def discarded(self) -> Discards:
        """What is discarded."""
        ...

    def discard(self, add: Mapping[str, int], remove: Collection[str]) -> str:
        """Begins to discard packets for these addresses, for so many seconds each, and ends it for
        others; why that was refused, or empty. An address that is in both is discarded for another
        time than before."""
        ...
