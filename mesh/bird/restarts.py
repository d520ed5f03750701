"""Which BGP sessions start anew when a node's files change, without asking BIRD.

BIRD compares a protocol's old and new configuration. Filters, limits and a few other settings it
changes in place; on any other difference it ends the session and starts it anew. A tunnel that
comes up anew ends the session over it as well. What is not known to be changed in place counts as a
restart. That a neighbor can refresh its routes (RFC 2918) is assumed: without that, BIRD starts the
session anew for a changed import filter too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

Words = tuple[str, ...]

_WORD = re.compile(r'"[^"]*"|#[^\n]*|/\*.*?\*/|[\w.:/%-]+|\S', re.DOTALL)
_BLOCKS = frozenset({"protocol", "template", "function", "filter"})
"""What ends with its block, and not with a semicolon."""
_CHANNELS = frozenset({"ipv4", "ipv6"})
_IN_PLACE = {
    False: (("description",),),
    True: (
        ("import", "all"),
        ("import", "none"),
        ("import", "filter"),
        ("import", "where"),
        ("export", "all"),
        ("export", "none"),
        ("export", "filter"),
        ("export", "where"),
        ("import", "limit"),
        ("receive", "limit"),
        ("export", "limit"),
        ("next", "hop"),
        ("preference",),
        ("rpki", "reload"),
    ),
}
"""How settings begin that BIRD changes in place: of a protocol, and of its channels (True)."""

_BIRD, _TUNNELS = "/etc/bird/", "/etc/wireguard/"
_TUNNEL_UNIT = "/etc/systemd/system/anycast-mesh-tunnel@.service"
_LIVE = re.compile(r"^\s*(?:(?:ListenPort|MTU)\s*=.*|#.*|)\n?", re.MULTILINE)
"""Lines of a tunnel's interface that the agent changes while it is up, and comments."""


@dataclass(frozen=True, slots=True)
class _Block:
    """A protocol or a template: the template that it continues, and its settings."""

    parent: str
    settings: tuple[Words, ...]


@dataclass(frozen=True, slots=True)
class _Definitions:
    """What BIRD's files define: BGP protocols and templates. ``constants`` are all else that their
    settings refer to by name: tables too, and BFD."""

    protocols: dict[str, _Block] = field(default_factory=dict)
    templates: dict[str, _Block] = field(default_factory=dict)
    constants: dict[str, Words] = field(default_factory=dict)

    def add(self, other: _Definitions) -> None:
        """Takes what another file defines."""
        self.protocols.update(other.protocols)
        self.templates.update(other.templates)
        self.constants.update(other.constants)

    def session(self, name: str) -> tuple[Words, ...]:
        """All of a session's settings for which it starts anew, and the values of the constants
        that they use."""
        settings = [("router", "id", *self.constants.get("router id", ()))]
        block: _Block | None = self.protocols[name]
        while block is not None:
            settings += block.settings
            if block.parent not in self.templates:
                settings.append(("from", block.parent))
            block = self.templates.get(block.parent)
        used = self._constants(word for each in settings for word in each)
        return (*settings, *((each, *self.constants[each]) for each in sorted(used)))

    def _constants(self, words: Iterable[str]) -> set[str]:
        found: set[str] = set()
        left = [word for word in words if word in self.constants]
        while left:
            name = left.pop()
            if name not in found:
                found.add(name)
                left += [word for word in self.constants[name] if word in self.constants]
        return found


def restarting(before: Mapping[str, str], after: Mapping[str, str]) -> frozenset[str]:
    """The names of the BGP protocols of both sets of files, by path, whose session starts anew when
    a node changes from one to the other."""
    old, new = _defined(before), _defined(after)
    return frozenset(
        name
        for name in old.protocols.keys() & new.protocols.keys()
        if old.session(name) != new.session(name)
        or _tunnel(before, old, name) != _tunnel(after, new, name)
    )


def is_read(path: str) -> bool:
    """Whether a file of a node decides about sessions."""
    return path.startswith((_BIRD, _TUNNELS)) or path == _TUNNEL_UNIT


def sessions(files: Mapping[str, str]) -> frozenset[str]:
    """The names of all BGP protocols in a node's files."""
    return frozenset(_defined(files).protocols)


def _defined(files: Mapping[str, str]) -> _Definitions:
    found = _Definitions()
    for path in sorted(files):
        if path.startswith(_BIRD):
            found.add(_read(files[path]))
    return found


def _tunnel(files: Mapping[str, str], defined: _Definitions, name: str) -> tuple[str, ...]:
    """What makes the tunnel under a session come up anew; empty without one."""
    for setting in defined.protocols[name].settings:
        path = f"{_TUNNELS}{setting[-1][1:-1]}.conf" if setting[0] == "interface" else ""
        if path in files:
            interface = files[path].partition("[Peer]")[0]
            return _LIVE.sub("", interface), files.get(_TUNNEL_UNIT, "")
    return ()


# --- BIRD's language, as far as it matters -------------------------------------------------------


@lru_cache(maxsize=64)
def _read(text: str) -> _Definitions:
    """What one file defines."""
    found = _Definitions()
    for item in _items(text):
        match item:
            case ("protocol", "bgp", name, "from", parent, "{", *inner, "}"):
                found.protocols[name] = _Block(parent, tuple(_settings(inner)))
            case ("protocol", "bgp", name, "{", *inner, "}"):
                found.protocols[name] = _Block("", tuple(_settings(inner)))
            case ("template", "bgp", name, "from", parent, "{", *inner, "}"):
                found.templates[name] = _Block(parent, tuple(_settings(inner)))
            case ("template", "bgp", name, "{", *inner, "}"):
                found.templates[name] = _Block("", tuple(_settings(inner)))
            case ("define", name, "=", *value):
                found.constants[name] = tuple(value)
            case ("router", "id", *value):
                found.constants["router id"] = tuple(value)
            case ("protocol", "bfd", "{", *inner, "}"):
                found.constants["bfd"] = _bfd(inner)
            case (kind, "table", name, *options):
                found.constants[name] = (kind, *options)
    return found


def _items(text: str) -> Iterator[list[str]]:
    """The definitions at the top of a file, as words."""
    item: list[str] = []
    depth = 0
    for word in _words(text):
        if word == ";" and not depth and (not item or item[0] not in _BLOCKS):
            yield item
            item = []
            continue
        item.append(word)
        depth += (word == "{") - (word == "}")
        if word == "}" and not depth and item[0] in _BLOCKS:
            yield item
            item = []


def _words(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        if not word.startswith(("#", "/*")):
            yield word


def _settings(words: Iterable[str], channel: Words = ()) -> Iterator[Words]:
    """The settings for which a session starts anew, those of channels with the channel's name
    before them."""
    for setting in _split(words):
        if not channel and setting[0] in _CHANNELS and setting[1:2] == ("{",):
            yield setting[:1]
            yield from _settings(setting[2:-1], setting[:1])
        elif not any(setting[: len(start)] == start for start in _IN_PLACE[bool(channel)]):
            yield (*channel, *setting)


def _bfd(words: Iterable[str]) -> Words:
    """The settings of BFD itself for which the sessions that use it start anew: not the intervals
    of interfaces and neighbors."""
    kept = (each for each in _split(words) if each[0] not in ("interface", "multihop", "neighbor"))
    return tuple(word for each in kept for word in (*each, ";"))


def _split(words: Iterable[str]) -> Iterator[Words]:
    setting: list[str] = []
    depth = 0
    for word in words:
        depth += (word == "{") - (word == "}")
        if word != ";" or depth:
            setting.append(word)
        elif setting:
            yield tuple(setting)
            setting = []
    if setting:
        yield tuple(setting)
