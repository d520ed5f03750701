"""Network namespaces of a test or a figure, with what stands at the ends of their links."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mesh.lab import namespaces


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
    lines = ["link set lo up", f"link set {link} up"]
    for address in addresses:
        lines.append(address_line(address, link))
    namespaces.ip([*lines, *(f"route replace {route} dev {link}" for route in routes)], space)
