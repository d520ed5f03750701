"""Network namespaces of a test or a figure, with what stands at the ends of their links."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

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
