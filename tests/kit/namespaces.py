"""Network namespaces of a test or a figure, with what stands at the ends of their links."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from mesh.lab import namespaces
from tests.kit.wait import until


@contextmanager
def spaces(what: str, *ends: str) -> Iterator[tuple[str, ...]]:
    """Namespaces that are this process's own, by what they are for; gone at the end."""
    names = tuple(f"{what}-{os.getpid()}-{end}" for end in ends)
    try:
        namespaces.create(names)
        yield names
    finally:
        namespaces.delete(names)


def address_line(address: object, link: str) -> str:
    """The line of iproute2 that gives a link an address, alone and at once."""
    length, rest = (128, " nodad") if ":" in str(address) else (32, "")
    return f"address add {address}/{length} dev {link}{rest}"


def settle(space: str, link: str, addresses: Iterable[str], routes: Iterable[str]) -> None:
    """Who has these addresses alone is at the end of a link; ``routes`` lead through it."""
    texts = [str(address) for address in addresses]
    lines = ["link set lo up", f"link set {link} up"]
    lines += [address_line(text, link) for text in texts]
    namespaces.ip([*lines, *(f"route replace {route} dev {link}" for route in routes)], space)
    # What comes for an IPv6 address is dropped until a worker of the kernel has made it this one's
    # own: later than the command, on a busy machine.
    own = {str(ip_address(text)) for text in texts if ":" in text}
    until(lambda: own <= _local(space), 5, f"{space} has {own}")


def _local(space: str) -> set[str]:
    """The IPv6 addresses that a namespace takes packets for."""
    text = namespaces.run(["ip", "-n", space, "-6", "-j", "route", "show", "table", "local"])
    return {route["dst"] for route in json.loads(text)}


@dataclass(frozen=True, slots=True)
class Kernel:
    """The kernel of a namespace, which an `ip` of each family shows."""

    shown_by: Mapping[int, subprocess.Popen[str]]

    def show(self, family: int, what: str) -> list[dict[str, Any]]:
        """What is there, as in `ip route show`: ``what`` are the words after `ip`."""
        process = self.shown_by[family]
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{what}\n")
        found: list[dict[str, Any]] = json.loads(process.stdout.readline())
        return found

    def has(self, prefix: str) -> bool:
        """Whether any table has a route of exactly that prefix."""
        return bool(self.show(6 if ":" in prefix else 4, f"route show table all exact {prefix}"))


@contextmanager
def kernel(space: str) -> Iterator[Kernel]:
    """The kernel of a namespace. Each `ip` stays: its start takes a hundred times what an answer
    takes."""
    with ExitStack() as stack:
        yield Kernel({
            family: stack.enter_context(subprocess.Popen(
                ["ip", "-n", space, f"-{family}", "-j", "-batch", "-"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            ))
            for family in (4, 6)
        })  # fmt: skip
