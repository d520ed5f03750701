"""Addresses that an account hands out, and the machines behind its servers."""

from __future__ import annotations

import os
from typing import Protocol

from tests.kit.vultr_api.objects import Server


def loopback(number: int) -> str:
    """The loopback address of this number that is this process's own: registries listen on them,
    and the tests of another process have servers of the same numbers."""
    large, small = divmod(os.getpid(), 200)
    part, last = divmod(number, 250)
    return f"127.{20 + small}.{(large + part) % 256}.{last + 2}"


class Machines(Protocol):
    """The addresses and machines of an account. What it does returns at once."""

    def address(self, number: int, region: str, label: str) -> str:
        """The reserved IPv4 address of this number, in that region."""

    def released(self, address: str) -> None:
        """The account has given this address up."""

    def ipv6(self, number: int, region: str, main_ip: str) -> tuple[str, str]:
        """The /64 of a server, without its length, and the main address in it."""

    def boot(self, server: Server) -> None:
        """Start the machine of a server that was created, from its user data."""

    def ready(self, server: Server) -> bool:
        """Whether the machine is up."""

    def power(self, server: Server, on: bool) -> None:
        """Start or halt the machine."""

    def gone(self, server: Server) -> None:
        """The server is deleted, and its disk with it."""


class Loopback:
    """Addresses of this machine's loopback interface, and no machine: a server is a record."""

    def address(self, number: int, region: str, label: str) -> str:
        return loopback(number)

    def released(self, address: str) -> None: ...

    def ipv6(self, number: int, region: str, main_ip: str) -> tuple[str, str]:
        network = f"2001:19f0:{number:x}::"
        return network, f"{network}1"

    def boot(self, server: Server) -> None: ...

    def ready(self, server: Server) -> bool:
        return True

    def power(self, server: Server, on: bool) -> None: ...

    def gone(self, server: Server) -> None: ...
