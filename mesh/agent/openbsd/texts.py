"""Reads what OpenBSD's ifconfig(8), route(8), netstat(1) and pfctl(8) print: none of them has
another form for programs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

_MTU = re.compile(r"^\S+: flags=.* mtu (\d+)", re.MULTILINE)
_TUNNEL = re.compile(r"wg\d+")
_PACKETS = re.compile(r"\[ Evaluations: .*\bPackets: (\d+)")
_UNFIT = {"anycast", "temporary", "tentative", "duplicated", "detached", "deprecated"}


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """An address of an interface, without its zone, and whether it may be the main one: global, and
    neither temporary nor deprecated, nor one that is not usable."""

    address: str
    is_link_local: bool
    is_main: bool


def mtu(text: str) -> int | None:
    """The MTU of the first interface that ``ifconfig`` lists."""
    found = _MTU.search(text)
    return int(found[1]) if found else None


def addresses(text: str) -> Iterator[InterfaceAddress]:
    """The addresses that ``ifconfig`` lists, in its order."""
    for line in text.splitlines():
        words = line.split()
        if line[:1].isspace() and len(words) > 1 and words[0] in ("inet", "inet6"):
            one = ip_address(words[1].partition("%")[0])
            local = isinstance(one, IPv6Address) and one.is_link_local
            fit = not (local or one.is_loopback or _UNFIT & set(words[2:]))
            yield InterfaceAddress(str(one), local, fit)


def route(text: str) -> dict[str, str]:
    """The fields that ``route get`` prints, one in each line."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return {name.strip(): value.strip() for name, found, value in pairs if found}


def tunnel_routes(text: str) -> Iterator[str]:
    """The destinations of the host routes through a tunnel, of what ``netstat -rn`` lists: those of
    the interface's own addresses (flag ``l``) lead nowhere."""
    for line in text.splitlines():
        words = line.split()
        if len(words) > 3 and _TUNNEL.fullmatch(words[-1]) and "l" not in words[2]:
            destination, _, length = words[0].partition("/")
            address = _address(destination)
            if address and length in ("", str(ip_address(address).max_prefixlen)):
                yield address


def table(text: str) -> frozenset[str]:
    """The addresses that ``pfctl -T show`` lists, one in each line."""
    return frozenset(one for line in text.split() if (one := _address(line)))


def dropped(text: str) -> int:
    """The packets that the rules of discarded addresses have counted, of ``pfctl -v -sr``: below
    each rule is a line with its numbers."""
    packets, ours = 0, False
    for line in text.splitlines():
        if not line[:1].isspace():
            ours = "<mesh_discard" in line
        elif ours and (found := _PACKETS.search(line)):
            packets += int(found[1])
    return packets


def _address(text: str) -> str:
    """An address in its usual form; empty for anything else."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
