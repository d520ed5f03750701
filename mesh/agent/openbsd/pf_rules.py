"""Whether pf's rules accept a new TCP connection, evaluated from what ``pfctl -nvf`` prints.

The packet is a SYN that arrives on the uplink for the node's own address. The last rule that
matches decides, and a quick one at once (pf.conf(5)). A rule with other conditions is undecidable
here: it accepts no packet, and blocks it only if the rules that these are compared with do not have
the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network, summarize_address_range

from mesh.agent.ruleset import WORLD, Address, Network

RULE = re.compile(r"(?:pass|block|match|anchor|antispoof)\b")
_TABLE = re.compile(r"table <([^>]+)>([^{]*)(?:\{(.*)\})?")
_HARMLESS = re.compile(
    r"flags (?:S/SA|any)|(?:keep|no|modulate) state|label \"[^\"]*\"|(?:set|scrub) \([^)]*\)"
    r"|allow-opts|rtable \d+"
)
"""What a rule does with packets, and the flags of a SYN: no conditions on it."""
_TAG = re.compile(r"\btag (\S+)")
_TAGGED = re.compile(r"(! )?\btagged (\S+)")
_OURS = re.compile(r"(?:lo|wg)\d*")
"""Interfaces and groups that are not the uplink."""
_PORTS = re.compile(r"(?:(!=|=|<=|>=|<|>) (\d+)|(\d+)(:| >< | <> )(\d+))")


@dataclass(frozen=True, slots=True)
class _End:
    """An end of packets: addresses, tables and words of pf, or those that it is not."""

    address: str = "any"
    negated: bool = False
    ports: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    action: str
    direction: str
    quick: bool
    interface: str
    family: str
    protocol: str
    source: _End
    target: _End
    tag: str
    tagged: str
    untagged: str
    rest: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file: the networks in it, and those that are excepted; ``filled``: the file
    says what it has, and not a program."""

    networks: tuple[Network, ...]
    excepted: tuple[Network, ...]
    filled: bool


class PfRules:
    """The rules and tables of one file. Raises ValueError for a text that cannot be read."""

    def __init__(self, text: str) -> None:
        self.lines: tuple[str, ...] = tuple(
            line.strip() for line in text.splitlines() if RULE.match(line.strip())
        )
        """The rules as pf prints them, in their order."""
        self.tables: Mapping[str, Table] = dict(_tables(text))
        self._rules = [_rule(line) for line in self.lines if not line.startswith("anchor")]

    @property
    def rules(self) -> frozenset[str]:
        """The texts of all rules."""
        return frozenset(self.lines)

    def admits(self, source: Address, port: int, familiar: frozenset[str] = frozenset()) -> bool:
        """Whether a packet from ``source`` is accepted at that port. ``familiar`` are the rules of
        those that these are compared with."""
        verdict, tag = "pass", ""
        for rule in self._rules:
            if not self._counts(rule, source, port, tag, familiar):
                continue
            tag = rule.tag or tag
            if rule.action == "match":
                continue
            verdict = rule.action
            if rule.quick:
                break
        return verdict == "pass"

    def named(self, ports: Iterable[int]) -> frozenset[Network]:
        """The source networks of rules that pass one of these ports; all addresses for a rule
        without a source."""
        found: set[Network] = set()
        for rule in self._rules:
            if rule.action == "pass" and any(self._concerns(rule, port) for port in ports):
                found |= set(self._sources(rule))
        return frozenset(found)

    def refused(self) -> frozenset[Network]:
        """The source networks in rules that block, and the exceptions in tables."""
        found = {net for table in self.tables.values() for net in table.excepted}
        for rule in self._rules:
            if rule.action == "block":
                found |= set(self._networks(rule.source.address))
        return frozenset(found - set(WORLD))

    def _counts(
        self, rule: _Rule, source: Address, port: int, tag: str, familiar: frozenset[str]
    ) -> bool:
        results = [*self._conditions(rule, source.version, port), self._is_from(rule, source)]
        results.append(rule.tagged in ("", tag) and (not rule.untagged or rule.untagged != tag))
        if False in results:
            return False
        return None not in results or (rule.action == "block" and rule.text not in familiar)

    def _concerns(self, rule: _Rule, port: int) -> bool:
        """Whether a rule decides about packets for that port from some source."""
        if rule.tagged:
            return False
        families = [4 if rule.family == "inet" else 6] if rule.family else [4, 6]
        return any(set(self._conditions(rule, family, port)) == {True} for family in families)

    def _conditions(self, rule: _Rule, family: int, port: int) -> Iterator[bool | None]:
        """Whether a packet meets the conditions but that on its source; None if undecidable."""
        yield rule.direction != "out"
        yield _is_uplink(rule.interface)
        yield rule.family in ("", "inet" if family == 4 else "inet6")
        yield rule.protocol in ("", "tcp")
        yield None if rule.source.ports else True
        yield _has_port(rule.target.ports, port)
        yield self._is_own(rule.target)
        yield True if not rule.rest else None

    def _is_from(self, rule: _Rule, source: Address) -> bool | None:
        end = rule.source
        if end.address == "any":
            return not end.negated
        networks = list(self._networks(end.address))
        table = self.tables.get(end.address.strip("<>"))
        if not networks and table is None:
            return None
        found = any(source in network for network in networks)
        if table is not None and found:
            found = not any(source in network for network in table.excepted)
        return found != end.negated

    def _is_own(self, end: _End) -> bool | None:
        """Whether a target is the node's own address: that is in none of the networks in rules; it
        may be a single address."""
        if end.address == "any" or end.address == "self" or end.address.startswith("("):
            return not end.negated
        networks = list(self._networks(end.address))
        if any(network.num_addresses == 1 for network in networks):
            return None
        return end.negated

    def _sources(self, rule: _Rule) -> Iterator[Network]:
        networks = list(self._networks(rule.source.address))
        # A source with "!" is excluded from the rule.
        if rule.source.negated or (rule.source.address == "any"):
            networks = list(WORLD)
        version = {"inet": 4, "inet6": 6}.get(rule.family)
        yield from (one for one in networks if version in (None, one.version))

    def _networks(self, address: str) -> tuple[Network, ...]:
        if address.startswith("<"):
            table = self.tables.get(address.strip("<>"))
            return () if table is None else table.networks
        return tuple(_addresses(address))


def _tables(text: str) -> Iterator[tuple[str, Table]]:
    for line in text.splitlines():
        match = _TABLE.fullmatch(line.strip())
        if match is None:
            continue
        words = (match[3] or "").replace(",", " ").split()
        inside: list[Network] = []
        excepted: list[Network] = []
        for word in words:
            (excepted if word.startswith("!") else inside).extend(_addresses(word.lstrip("!")))
        filled = match[3] is not None or " file " in match[2]
        yield match[1], Table(tuple(inside), tuple(excepted), filled)


def _rule(line: str) -> _Rule:
    words = line.split()
    action = words.pop(0)
    if words and words[0].startswith(("drop", "return")):
        _parenthesised(words)
    direction = words.pop(0) if words and words[0] in ("in", "out") else ""
    if words and words[0] == "log":
        words.pop(0)
        if words and words[0].startswith("("):
            _parenthesised(words)
    quick = _taken(words, "quick")
    interface = ""
    if _taken(words, "on"):
        interface = words.pop(0)
        if interface == "!":
            interface += words.pop(0)
        if interface.endswith("rdomain"):
            interface += f" {words.pop(0)}"
    family = words.pop(0) if words and words[0] in ("inet", "inet6") else ""
    protocol = words.pop(0) if _taken(words, "proto") else ""
    source = target = _End()
    if not _taken(words, "all"):
        if _taken(words, "from"):
            source = _end(words, line)
        if _taken(words, "to"):
            target = _end(words, line)
    left = _HARMLESS.sub("", " ".join(words))
    tagged, tag = _TAGGED.search(left), _TAG.search(left)
    rest = _TAG.sub("", _TAGGED.sub("", left)).strip()
    return _Rule(
        line, action, direction, quick, interface, family, protocol, source, target,
        tag=tag[1] if tag else "",
        tagged=tagged[2] if tagged and not tagged[1] else "",
        untagged=tagged[2] if tagged and tagged[1] else "",
        rest=rest,
    )  # fmt: skip


def _end(words: list[str], line: str) -> _End:
    negated = _taken(words, "!")
    if not words:
        raise ValueError(f"pf: {line}: has no address")
    address = words.pop(0)
    if words[:1] == ["-"]:
        words.pop(0)
        address += f"-{words.pop(0)}"
    ports = ""
    if _taken(words, "port"):
        many = 3 if words[1:2] in (["><"], ["<>"]) else 1 if words[0][0].isdigit() else 2
        ports = " ".join(words[:many])
        del words[:many]
    return _End(address, negated, ports)


def _taken(words: list[str], word: str) -> bool:
    if words[:1] == [word]:
        words.pop(0)
        return True
    return False


def _parenthesised(words: list[str]) -> None:
    """Takes a word, and all until its parenthesis is closed."""
    word = words.pop(0)
    while "(" in word and not word.endswith(")") and words:
        word = f"{word} {words.pop(0)}"


def _is_uplink(interface: str) -> bool | None:
    if interface.startswith("rdomain"):
        return interface.endswith(" 0")
    if interface.startswith("!"):
        return True if _OURS.fullmatch(interface[1:]) else None
    return not interface or _OURS.fullmatch(interface) is None


def _has_port(ports: str, port: int) -> bool | None:
    if not ports:
        return True
    match = _PORTS.fullmatch(f"= {ports}" if ports.isdigit() else ports)
    if match is None:
        return None
    if match[1]:
        one = int(match[2])
        return {
            "=": port == one, "!=": port != one, "<": port < one,
            "<=": port <= one, ">": port > one, ">=": port >= one,
        }[match[1]]  # fmt: skip
    low, high = int(match[3]), int(match[5])
    if match[4].strip() == ":":
        return low <= port <= high
    return (low < port < high) if match[4].strip() == "><" else not low <= port <= high


def _addresses(word: str) -> Sequence[Network]:
    """The networks of a word; none if it is no address."""
    try:
        if "-" in word:
            low, high = (ip_address(end) for end in word.split("-"))
            if low.version == 4 and high.version == 4:
                return list(summarize_address_range(low, high))
            if low.version == 6 and high.version == 6:
                return list(summarize_address_range(low, high))
        return [ip_network(word.partition("%")[0], strict=False)]
    except (ValueError, TypeError):
        return []
