"""What a ruleset of nftables makes of somebody who begins to log in: read from nft's own JSON.

The packet is the first of a TCP connection that comes in by the uplink, for the node's own address.
What a rule asks beyond that is not known here; such a rule accepts nobody, and drops only where the
ruleset that it is compared with does not have it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
WORLD: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))

_HOOKS = ("prerouting", "input")
_FAMILIES = {4: ("inet", "ip"), 6: ("inet", "ip6")}
_REFUSING = ("drop", "reject")
_DEPTH = 16
"""As deep as the kernel lets chains jump."""


_Place = tuple[str, str, str]
"""Where a chain or set is: family, table, name."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its expressions in nft's JSON."""

    expressions: tuple[Mapping[str, Any], ...]

    @property
    def matches(self) -> Iterator[Mapping[str, Any]]:
        """What it asks of a packet."""
        return (one["match"] for one in self.expressions if "match" in one)

    @property
    def verdict(self) -> tuple[str, str]:
        """What becomes of a packet, and the chain where it goes on; two empty words for a rule that
        decides nothing."""
        for one in self.expressions:
            for word in ("accept", "return", *_REFUSING):
                if word in one:
                    return word, ""
            for word in ("jump", "goto"):
                if word in one:
                    return word, str(one[word]["target"])
        return "", ""

    @property
    def text(self) -> str:
        """The same for rules that say the same."""
        return json.dumps(self.expressions, sort_keys=True)


@dataclass(slots=True)
class _Chain:
    family: str
    rules: list[Rule] = field(default_factory=list)
    hook: str = ""
    priority: int = 0
    policy: str = "accept"


class Ruleset:
    """The tables of one file, by themselves."""

    def __init__(self, text: str) -> None:
        """``text`` is what ``nft -j list ruleset`` prints. ValueError where it is nothing of it."""
        self._chains: dict[_Place, _Chain] = {}
        self._sets: dict[_Place, list[Any]] = {}
        try:
            for entry in json.loads(text)["nftables"]:
                self._take(entry)
        except (KeyError, TypeError) as error:
            raise ValueError(f"nft's words are not understood: {error}") from None

    def _take(self, entry: Mapping[str, Any]) -> None:
        if (chain := entry.get("chain")) is not None:
            # Translations decide where a packet goes, and not whether.
            filters = chain.get("type", "filter") == "filter"
            self._chains[chain["family"], chain["table"], chain["name"]] = _Chain(
                chain["family"],
                hook=chain.get("hook", "") if filters else "",
                priority=chain.get("prio", 0),
                policy=chain.get("policy", "accept"),
            )
        elif (named := entry.get("set")) is not None:
            self._sets[named["family"], named["table"], named["name"]] = named.get("elem", [])
        elif (rule := entry.get("rule")) is not None:
            place = (rule["family"], rule["table"], rule["chain"])
            self._chains[place].rules.append(Rule(tuple(rule["expr"])))

    @property
    def rules(self) -> frozenset[str]:
        """All its rules."""
        return frozenset(rule.text for chain in self._chains.values() for rule in chain.rules)

    def admits(self, source: Address, port: int, familiar: frozenset[str] = frozenset()) -> bool:
        """Whether somebody gets through to that port from there. ``familiar`` are the rules of the
        ruleset that this one is compared with."""
        based = [
            (place, chain)
            for place, chain in self._chains.items()
            if chain.hook in _HOOKS and chain.family in _FAMILIES[source.version]
        ]
        based.sort(key=lambda one: (_HOOKS.index(one[1].hook), one[1].priority))
        for place, chain in based:
            asked = _Asked(self._sets, place[:2], source, port, familiar)
            if (self._walk(place, asked, 0) or chain.policy) in _REFUSING:
                return False
        return True

    def named(self, ports: Iterable[int]) -> frozenset[Network]:
        """The networks that rules name which let in to one of these ports: all the world where one
        names none."""
        found: set[Network] = set()
        for port in ports:
            for place in self._passed(port):
                for rule in self._chains[place].rules:
                    if rule.verdict[0] == "accept" and self._concerns(rule, place, port):
                        found |= set(self._sources(rule, place))
        return frozenset(found)

    def refused(self) -> frozenset[Network]:
        """The networks that rules name which drop or reject, also as those whom they spare."""
        found: set[Network] = set()
        for place, chain in self._chains.items():
            for rule in chain.rules:
                if rule.verdict[0] in _REFUSING:
                    found |= set(self._sources(rule, place, spared=True))
        return frozenset(found - set(WORLD))

    def _passed(self, port: int) -> list[_Place]:
        """The chains in which somebody who comes to that port may be accepted."""
        found = [place for place, chain in self._chains.items() if chain.hook == "input"]
        for place in found:
            for rule in self._chains[place].rules:
                verdict, target = rule.verdict
                leads = (*place[:2], target)
                is_new = leads in self._chains and leads not in found
                if verdict in ("jump", "goto") and is_new and self._concerns(rule, place, port):
                    found.append(leads)
        return found

    def _concerns(self, rule: Rule, place: _Place, port: int) -> bool:
        """Whether a rule is for somebody who comes to that port, wherever from."""
        asked = [one for one in rule.matches if _field(one.get("left")) not in _SOURCES]
        packets = [_Asked(self._sets, place[:2], network[0], port) for network in WORLD]
        return any(all(packet.match(one) for one in asked) for packet in packets)

    def _sources(self, rule: Rule, place: _Place, *, spared: bool = False) -> Iterator[Network]:
        # Whoever is named with "!=" is spared.
        sources = [
            match
            for match in rule.matches
            if _field(match.get("left")) in _SOURCES and (spared or match.get("op") != "!=")
        ]
        if not sources:
            yield from WORLD
        for match in sources:
            for value in _values(match.get("right"), self._sets, place[:2]):
                yield from _networks(value)

    def _walk(self, place: _Place, asked: _Asked, depth: int) -> str:
        """The verdict of a chain; empty where its packet goes on."""
        if depth > _DEPTH or place not in self._chains:
            return ""
        for rule in self._chains[place].rules:
            verdict, target = rule.verdict
            if not verdict or not asked.takes(rule):
                continue
            if verdict == "return":
                return ""
            if verdict in ("jump", "goto"):
                found = self._walk((*place[:2], target), asked, depth + 1)
                if found or verdict == "goto":
                    return found
            else:
                return verdict
        return ""


_PORTS = (("tcp", "dport"), ("th", "dport"))
_SOURCES = (("ip", "saddr"), ("ip6", "saddr"))
_NONE = ("", "")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A packet, and the sets of the table whose rules look at it."""

    sets: Mapping[_Place, list[Any]]
    table: tuple[str, str]
    source: Address
    port: int
    familiar: frozenset[str] = frozenset()

    def takes(self, rule: Rule) -> bool:
        """Whether the rule decides about this packet."""
        said = [self.match(match) for match in rule.matches]
        if False in said:
            return False
        if None not in said:
            return True
        return rule.verdict[0] in _REFUSING and rule.text not in self.familiar

    def match(self, match: Mapping[str, Any]) -> bool | None:
        """Whether the packet is what a rule asks for; None where that is not known."""
        operator = match.get("op", "==")
        if operator not in ("==", "!=", "in"):
            return None
        left = match.get("left")
        # What is of another protocol is asked for in vain, also where it is to be another.
        if _field(left) != _NONE and not self._is_spoken(_field(left)[0]):
            return False
        found = self._is(left, match.get("right"))
        return found if found is None or operator != "!=" else not found

    def _is(self, left: Any, right: Any) -> bool | None:
        if not isinstance(left, dict):
            return None
        if "payload" in left:
            return self._is_in_payload(_field(left), right)
        values = list(_values(right, self.sets, self.table))
        if "ct" in left and left["ct"].get("key") == "state":
            return "new" in values
        if "fib" in left and left["fib"] == {"result": "type", "flags": ["daddr"]}:
            return "local" in values
        if "meta" in left:
            return self._is_of_kind(left["meta"].get("key"), values)
        return None

    def _is_of_kind(self, key: object, values: list[Any]) -> bool | None:
        if key in ("iifname", "iif"):
            # Anything that is no tunnel of ours and not the node itself may be the uplink.
            return any(not (v == "lo" or str(v).startswith("wg-")) for v in values)
        if key == "l4proto":
            return bool({"tcp", 6} & set(values))
        if key in ("nfproto", "protocol"):
            return bool({f"ipv{self.source.version}", _family(self.source)} & set(values))
        return None

    def _is_spoken(self, protocol: str) -> bool:
        """Whether the packet has a header of that protocol."""
        return protocol in ("tcp", "th", _family(self.source))

    def _is_in_payload(self, asked: tuple[str, str], right: Any) -> bool | None:
        _, name = asked
        values = list(_values(right, self.sets, self.table))
        if asked in _PORTS:
            return any(_has_port(value, self.port) for value in values)
        if name == "saddr":
            return any(self.source in network for v in values for network in _networks(v))
        if name == "daddr":
            # The node's own address is in none of the networks that rules are about; it may be one
            # that is named alone.
            alone = any(net.num_addresses == 1 for v in values for net in _networks(v))
            return None if alone else False
        if name in ("protocol", "nexthdr"):
            return bool({"tcp", 6} & set(values))
        return None


def _family(source: Address) -> str:
    return "ip" if source.version == 4 else "ip6"


def _field(left: Any) -> tuple[str, str]:
    payload = left.get("payload", {}) if isinstance(left, dict) else {}
    return str(payload.get("protocol", "")), str(payload.get("field", ""))


def _values(right: Any, sets: Mapping[_Place, list[Any]], table: tuple[str, str]) -> Iterator[Any]:
    """The single values of what a match compares with; elements of a set are elements of it."""
    if isinstance(right, list):
        for one in right:
            yield from _values(one, sets, table)
    elif isinstance(right, dict) and "set" in right:
        yield from _values(right["set"], sets, table)
    elif isinstance(right, dict) and "elem" in right:
        yield from _values(right["elem"]["val"], sets, table)
    elif isinstance(right, str) and right.startswith("@"):
        yield from _values(sets.get((*table, right[1:]), []), sets, table)
    else:
        # A range is one value: its two ends are in a list of their own.
        yield right


def _has_port(value: Any, port: int) -> bool:
    if isinstance(value, dict) and isinstance(value.get("range"), list):
        low, high = value["range"]
        return isinstance(low, int) and isinstance(high, int) and low <= port <= high
    return bool(value == port)


def _networks(value: Any) -> Iterator[Network]:
    """The networks that a value of a match stands for; none where it is no address."""
    try:
        if isinstance(value, str):
            yield ip_network(value, strict=False)
        elif isinstance(value, dict) and "prefix" in value:
            prefix = value["prefix"]
            yield ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False)
        elif isinstance(value, dict) and "range" in value:
            low, high = (ip_address(end) for end in value["range"])
            yield from summarize_address_range(low, high)
    except (ValueError, TypeError, KeyError):
        return
