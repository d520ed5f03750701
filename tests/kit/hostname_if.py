"""A strict reader of hostname.if(5): of the forms that rendered files have, and of no others.

Written from hostname.if(5), netstart(8), ifconfig(8) and route(8), and not from the templates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

INTERFACE = r"[a-z]+[0-9]+"
"""netstart(8) reads the files of these names alone."""
HIGHEST_PRIORITY = 63
"""Of a route (sys/net/route.h)."""


@dataclass(frozen=True)
class Route:
    """A route that a command line adds: to ``target``, at ``gateway``, in a table."""

    table: int
    target: str
    gateway: IPv4Address | IPv6Address
    priority: int | None
    reject: bool


@dataclass
class Interface:
    """What a file makes of an interface."""

    name: str
    up: bool = False
    mtu: int | None = None
    description: str = ""
    addresses: list[IPv4Interface | IPv6Interface] = field(default_factory=list)
    deprecated: set[IPv6Address] = field(default_factory=set)
    routes: list[Route] = field(default_factory=list)
    wireguard: list[str] = field(default_factory=list)
    """What wg(8) is told after the interface's name."""


def read(name: str, text: str) -> Interface:
    """What a file says; ValueError for a line that it should not have."""
    if not re.fullmatch(INTERFACE, name):
        raise ValueError(f"netstart passes over hostname.{name}")
    found = Interface(name)
    for line in text.splitlines():
        if line and not line.startswith("#"):
            _line(found, line)
    return found


def _line(found: Interface, line: str) -> None:
    match line.split(" "):
        case ["up"]:
            found.up = True
        case ["mtu", number]:
            found.mtu = int(number)
        case ["description", word] if re.fullmatch(r"[a-z0-9-]+", word):
            found.description = word
        case ["inet", address, mask]:
            _first(found, 4)
            found.addresses.append(IPv4Interface(f"{IPv4Address(address)}/{mask}"))
        case ["inet", "alias", address, mask]:
            found.addresses.append(IPv4Interface(f"{IPv4Address(address)}/{mask}"))
        case ["inet6", "alias", address, length, *more]:
            found.addresses.append(IPv6Interface(f"{IPv6Address(address)}/{int(length)}"))
            if more:
                _is(more, ["pltime", "0"])
                found.deprecated.add(IPv6Address(address))
        case ["inet6", address, length]:
            _first(found, 6)
            found.addresses.append(IPv6Interface(f"{IPv6Address(address)}/{int(length)}"))
        case ["!route", *words]:
            found.routes.append(_route(words))
        case ["!/usr/local/bin/wg", "set", interface, *words]:
            _is([interface], [found.name])
            found.wireguard = words
        case _:
            raise ValueError(f"hostname.{found.name}: {line}")


def _first(found: Interface, version: int) -> None:
    """Without ``alias`` an address takes the place of the first one."""
    if any(each.version == version for each in found.addresses):
        raise ValueError(f"hostname.{found.name}: a second address of IPv{version}, without alias")


def _route(words: list[str]) -> Route:
    """Options first, then where to, and the gateway last."""
    _is(words[:2] + words[3:4], ["-qn", "-T", "add"])
    family = _FAMILIES[words[4]]
    *options, target, gateway = words[5:]
    priority, reject = None, False
    while options:
        match options.pop(0):
            case "-reject":
                reject = True
            case "-priority":
                priority = int(options.pop(0))
            case "-host":
                target = str(family(target))
            case option:
                raise ValueError(f"route add {option}")
    if priority is not None and not 0 < priority <= HIGHEST_PRIORITY:
        raise ValueError(f"route add -priority {priority}")
    return Route(int(words[2]), target, family(gateway), priority, reject)


_FAMILIES: dict[str, type[IPv4Address] | type[IPv6Address]] = {
    "-inet": IPv4Address,
    "-inet6": IPv6Address,
}


def _is(words: list[str], expected: list[str]) -> None:
    if words != expected:
        raise ValueError(f"{' '.join(words)}, where {' '.join(expected)} has to stand")
