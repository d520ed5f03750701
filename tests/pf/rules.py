"""Rules and tables of pf.conf(5), in the few forms that we write."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Literal

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class Host:
    """What a packet's address is compared with: a table, a network, or with neither all addresses
    of this machine (``self``)."""

    table: str = ""
    network: Network | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface or a group of interfaces."""

    name: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """The user of the socket that sends."""

    number: int
    negated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule; an empty tuple and None match everything."""

    action: Literal["pass", "block", "match"]
    line: int
    answers: bool = False
    """A blocked connection is answered with a reset."""
    direction: Direction | None = None
    quick: bool = False
    interface: Interface | None = None
    family: Literal[4, 6] | None = None
    protocol: str | None = None
    sources: tuple[Host, ...] = ()
    source_ports: tuple[int, int] | None = None
    destinations: tuple[Host, ...] = ()
    ports: tuple[int, int] | None = None
    types: tuple[str, ...] = ()
    user: User | None = None
    received_on: str = ""
    tagged: str = ""
    tag: str = ""
    rtable: int | None = None
    max_mss: int | None = None
    rate: tuple[int, int] | None = None
    """So many packets in so many seconds."""
    keeps_state: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of addresses; what a negated network holds is not in it. One that is not ``constant``
    keeps what it holds when rules are loaded."""

    name: str
    constant: bool
    networks: tuple[Network, ...] = ()
    negated: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """A whole pf.conf."""

    options: tuple[str, ...]
    tables: tuple[Table, ...]
    rules: tuple[Rule, ...]
