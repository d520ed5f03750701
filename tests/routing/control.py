"""The routes that a BIRD holds, as data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from mesh.bird.client import Bird


@dataclass(frozen=True, slots=True)
class Control:
    """Asks a BIRD for its routes."""

    bird: Bird

    def ask(self, command: str) -> str:
        """BIRD's answer without its codes; it may be long, and a while in coming."""
        return self.bird.ask(command, 30).text

    def routes(self, table: str, *words: str) -> tuple[Held, ...]:
        """The routes of a table; ``words`` as in ``show route``: ``filtered``."""
        text = self.ask(f"show route table {table} all {' '.join(words)}")
        return tuple(held(text))

    def count(self, table: str, *words: str) -> int:
        """How many routes a table has, of those that ``words`` choose."""
        text = self.ask(f"show route table {table} {' '.join(words)} count")
        found = re.search(r"(\d+) of \d+ routes", text)
        assert found is not None, text
        return int(found[1])


@dataclass(frozen=True, slots=True)
class Held:
    """A route that BIRD holds; its prefix as Python writes it.

    ``attributes``: BIRD's text of each, by the protocol's names in lower case.
    """

    prefix: str
    session: str
    attributes: dict[str, str]

    @property
    def large(self) -> tuple[tuple[int, ...], ...]:
        """Its large communities."""
        return _tuples(self.attributes.get("large_community", ""))

    @property
    def plain(self) -> tuple[tuple[int, ...], ...]:
        """Its communities."""
        return _tuples(self.attributes.get("community", ""))


def _tuples(text: str) -> tuple[tuple[int, ...], ...]:
    inside = re.findall(r"\(([^)]*)\)", text)
    return tuple(tuple(int(number) for number in each.split(",")) for each in inside)


ROUTE = re.compile(r"^(\S*/\d+)\s+\S.*\[(\S+) ")
# BIRD 2 says "BGP.as_path", BIRD 3 "bgp_path".
ATTRIBUTE = re.compile(r"^\t(?:BGP\.|bgp_)(\w+): ?(.*)$")
NAMES = {"path": "as_path"}


def held(text: str) -> Iterator[Held]:
    """The routes in an answer to ``show route all``, one for each prefix and session."""
    found: Held | None = None
    last = ""
    for line in text.splitlines():
        if head := ROUTE.match(line):
            if found is not None:
                yield found
            found = Held(str(ip_network(head[1])), head[2], {})
        elif found is not None and (named := ATTRIBUTE.match(line)):
            last = NAMES.get(named[1], named[1])
            found.attributes[last] = named[2].strip()
        elif found is not None and line.startswith("\t\t"):  # what one line did not hold
            found.attributes[last] += " " + line.strip()
    if found is not None:
        yield found
