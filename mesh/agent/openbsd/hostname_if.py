"""Files of hostname.if(5): parsed strictly, since netstart(8) hands on whatever they have."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from pathlib import PurePosixPath

from mesh.agent import file_paths
from mesh.agent.host import CommandFailed
from mesh.trust.encoding import Malformed, unb64

Line = tuple[str, ...]
_WG = "/usr/local/bin/wg"
_TABLE = re.compile(r"[1-9]\d{0,2}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PEER = ("listen-port", "private-key", "peer", "endpoint", "allowed-ips")
_ROUTE = frozenset(("add", "-inet", "-inet6", "-host", "-reject", "-blackhole", "default"))


@dataclass(frozen=True, slots=True)
class Peer:
    """What a tunnel's file says to wg(8): its own port, and the peer."""

    port: str
    key: str
    endpoint: str
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class InterfaceFile:
    """An interface as its file has it. ``addresses`` are with their length, each with what else
    ifconfig(8) is told of it; ``routes`` are commands of route(8)."""

    name: str
    description: str = ""
    mtu: str = ""
    addresses: dict[str, Line] = field(default_factory=dict)
    peer: Peer | None = None
    routes: tuple[Line, ...] = ()


def name_of(path: str) -> str:
    """The interface of a file."""
    return PurePosixPath(path).name.partition(".")[2]


def parsed(path: str, content: bytes) -> InterfaceFile:
    """The interface of a file. Raises CommandFailed for a line of another form."""
    found = _Reading(name_of(path))
    for number, raw in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        try:
            fits = found.take(line)
        except (ValueError, Malformed):
            fits = False
        if not fits:
            raise CommandFailed(f"{path}:{number}: not a line for an interface of ours")
    if found.name.startswith("wg") and found.peer is None:
        raise CommandFailed(f"{path}: a tunnel needs a peer")
    return InterfaceFile(
        found.name, found.description, found.mtu, found.addresses, found.peer, tuple(found.routes)
    )


class _Reading:
    """A file, line by line."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.description = self.mtu = ""
        self.addresses: dict[str, Line] = {}
        self.peer: Peer | None = None
        self.routes: list[Line] = []

    def take(self, line: str) -> bool:
        """Whether a line has one of the forms. Raises ValueError or Malformed for a wrong value."""
        if line.startswith("!"):
            return self._take_command(tuple(shlex.split(line[1:])))
        match line.split():
            case ["up"]:
                return True
            case ["group", "wg"]:
                return True
            case ["description", text]:
                self.description = text
                return _NAME.fullmatch(text) is not None
            case ["mtu", number]:
                self.mtu = number
                return number.isdigit() and 1280 <= int(number) <= 9000
            case ["inet" | "inet6" as family, "alias", address, length, *more]:
                return self._take_address(family, address, length, more)
            case ["inet" | "inet6" as family, address, length, *more]:
                return self._take_address(family, address, length, more)
        return False

    def _take_address(self, family: str, text: str, length: str, more: Sequence[str]) -> bool:
        one = ip_interface(f"{text}/{length}")
        self.addresses[str(one)] = tuple(more)
        return one.version == (4 if family == "inet" else 6) and tuple(more) in (
            (),
            ("pltime", "0"),
        )

    def _take_command(self, words: Line) -> bool:
        if words[:3] in ((_WG, "set", self.name), (_WG, "set", "$if")):
            return self._take_peer(words[3:])
        if words[:3] == ("route", "-qn", "-T") and _TABLE.fullmatch(words[3]) is not None:
            self.routes.append(words)
            return words[4] == "add" and all(map(_is_of_route, _values(words[4:])))
        return False

    def _take_peer(self, words: Line) -> bool:
        if words[::2] != _PEER or len(words) != 2 * len(_PEER):
            return False
        given = dict(zip(words[::2], words[1::2], strict=True))
        host, _, port = given["endpoint"].rpartition(":")
        allowed = frozenset(given["allowed-ips"].split(","))
        self.peer = Peer(given["listen-port"], given["peer"], given["endpoint"], allowed)
        return (
            given["private-key"] == file_paths.WIREGUARD_KEY
            and len(unb64(given["peer"], 32)) == 32
            and not ip_address(host.strip("[]")).is_unspecified
            and all(text.isdigit() and 1 <= int(text) <= 65535 for text in (port, self.peer.port))
            and all(ip_interface(one) for one in allowed)
        )


def _values(words: Line) -> Iterator[str]:
    """Arguments of route(8), without the number of ``-priority``."""
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "-priority":
            if not left or not left.pop(0).isdigit():
                yield "-priority"
            continue
        yield word


def _is_of_route(word: str) -> bool:
    return word in _ROUTE or bool(ip_interface(word))
