"""Whether an nftables ruleset accepts a new TCP connection, evaluated from nft's JSON.

The packet is a SYN that arrives on the uplink for the node's own address. A rule with other
conditions is undecidable here: it accepts no packet, and drops it only if the ruleset that this one
is compared with does not have the same rule.
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
"""The kernel's limit on nested jumps."""


_Place = tuple[str, str, str]
"""Family, table and name of a chain or set."""


@dataclass(frozen=True, slots=True)
class NftRule:
    """One rule: its expressions in nft's JSON."""

    expressions: tuple[Mapping[str, Any], ...]

    @property
    def matches(self) -> Iterator[Mapping[str, Any]]:
        """Its conditions."""
        return (one["match"] for one in self.expressions if "match" in one)

    @property
    def verdict(self) -> tuple[str, str]:
        """The verdict and the target chain; both empty for a rule without a verdict."""
        for one in self.expressions:
            for verdict in ("accept", "return", *_REFUSING):
                if verdict in one:
                    return verdict, ""
            for verdict in ("jump", "goto"):
                if verdict in one:
                    return verdict, str(one[verdict]["target"])
        return "", ""

    @property
    def text(self) -> str:
        """Canonical text: equal for equal rules."""
        return json.dumps(self.expressions, sort_keys=True)


@dataclass(slots=True)
class _Chain:
    family: str
    rules: list[NftRule] = field(default_factory=list)
    hook: str = ""
    priority: int = 0
    policy: str = "accept"


class Ruleset:
    """The tables of one file."""

    def __init__(self, text: str) -> None:
        """``text`` is the output of ``nft -j list ruleset``. Raises ValueError for any other."""
        self._chains: dict[_Place, _Chain] = {}
        self._sets: dict[_Place, list[Any]] = {}
        try:
            for entry in json.loads(text)["nftables"]:
                self._take(entry)
        except (KeyError, TypeError) as error:
            raise ValueError(f"nft's output cannot be read: {error}") from None

    def _take(self, entry: Mapping[str, Any]) -> None:
        if (chain := entry.get("chain")) is not None:
            # NAT chains accept and drop nothing.
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
            self._chains[place].rules.append(NftRule(tuple(rule["expr"])))

    @property
    def rules(self) -> frozenset[str]:
        """The texts of all rules."""
        return frozenset(rule.text for chain in self._chains.values() for rule in chain.rules)

    def admits(self, source: Address, port: int, familiar: frozenset[str] = frozenset()) -> bool:
        """Whether a packet from ``source`` is accepted at that port. ``familiar`` are the rules of
        the ruleset that this one is compared with."""
        based = [
            (place, chain)
            for place, chain in self._chains.items()
            if chain.hook in _HOOKS and chain.family in _FAMILIES[source.version]
        ]
        based.sort(key=lambda one: (_HOOKS.index(one[1].hook), one[1].priority))
        for place, chain in based:
            packet = _Packet(self._sets, place[:2], source, port, familiar)
            if (self._walk(place, packet, 0) or chain.policy) in _REFUSING:
                return False
        return True

    def named(self, ports: Iterable[int]) -> frozenset[Network]:
        """The source networks of rules that accept one of these ports; all addresses for a rule
        without a source."""
        found: set[Network] = set()
        for port in ports:
            for place in self._passed(port):
                for rule in self._chains[place].rules:
                    if rule.verdict[0] == "accept" and self._concerns(rule, place, port):
                        found |= set(self._sources(rule, place))
        return frozenset(found)

    def refused(self) -> frozenset[Network]:
        """The source networks in rules that drop or reject, negated ones included."""
        found: set[Network] = set()
        for place, chain in self._chains.items():
            for rule in chain.rules:
                if rule.verdict[0] in _REFUSING:
                    found |= set(self._sources(rule, place, spared=True))
        return frozenset(found - set(WORLD))

    def _passed(self, port: int) -> list[_Place]:
        """The chains that a packet for that port may pass."""
        found = [place for place, chain in self._chains.items() if chain.hook == "input"]
        for place in found:
            for rule in self._chains[place].rules:
                verdict, target = rule.verdict
                leads = (*place[:2], target)
                is_new = leads in self._chains and leads not in found
                if verdict in ("jump", "goto") and is_new and self._concerns(rule, place, port):
                    found.append(leads)
        return found

    def _concerns(self, rule: NftRule, place: _Place, port: int) -> bool:
        """Whether a rule matches packets for that port, from some source."""
        conditions = [one for one in rule.matches if _field(one.get("left")) not in _SOURCES]
        packets = [_Packet(self._sets, place[:2], network[0], port) for network in WORLD]
        return any(all(packet.match(one) for one in conditions) for packet in packets)

    def _sources(self, rule: NftRule, place: _Place, *, spared: bool = False) -> Iterator[Network]:
        # A source with "!=" is excluded from the rule.
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

    def _walk(self, place: _Place, packet: _Packet, depth: int) -> str:
        """The verdict of a chain; empty if it has none for the packet."""
        if depth > _DEPTH or place not in self._chains:
            return ""
        for rule in self._chains[place].rules:
            verdict, target = rule.verdict
            if not verdict or not packet.matches(rule):
                continue
            if verdict == "return":
                return ""
            if verdict in ("jump", "goto"):
                found = self._walk((*place[:2], target), packet, depth + 1)
                if found or verdict == "goto":
                    return found
            else:
                return verdict
        return ""


_PORTS = (("tcp", "dport"), ("th", "dport"))
_SOURCES = (("ip", "saddr"), ("ip6", "saddr"))
_NONE = ("", "")


@dataclass(frozen=True, slots=True)
class _Packet:
    """A packet, and the sets of the table whose rules it passes."""

    sets: Mapping[_Place, list[Any]]
    table: tuple[str, str]
    source: Address
    port: int
    familiar: frozenset[str] = frozenset()

    def matches(self, rule: NftRule) -> bool:
        """Whether the rule's verdict holds for this packet."""
        results = [self.match(match) for match in rule.matches]
        if False in results:
            return False
        if None not in results:
            return True
        return rule.verdict[0] in _REFUSING and rule.text not in self.familiar

    def match(self, match: Mapping[str, Any]) -> bool | None:
        """Whether the packet meets a condition; None if that is undecidable."""
        operator = match.get("op", "==")
        if operator not in ("==", "!=", "in"):
            return None
        left = match.get("left")
        # A field of another protocol never matches, also with "!=".
        if _field(left) != _NONE and not self._has_header(_field(left)[0]):
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
            # Any interface but lo and our tunnels may be the uplink.
            return any(not (v == "lo" or str(v).startswith("wg-")) for v in values)
        if key == "l4proto":
            return bool({"tcp", 6} & set(values))
        if key in ("nfproto", "protocol"):
            return bool({f"ipv{self.source.version}", _family(self.source)} & set(values))
        return None

    def _has_header(self, protocol: str) -> bool:
        """Whether the packet has a header of that protocol."""
        return protocol in ("tcp", "th", _family(self.source))

    def _is_in_payload(self, field: tuple[str, str], right: Any) -> bool | None:
        _, name = field
        values = list(_values(right, self.sets, self.table))
        if field in _PORTS:
            return any(_has_port(value, self.port) for value in values)
        if name == "saddr":
            return any(self.source in network for v in values for network in _networks(v))
        if name == "daddr":
            # The node's own address is in none of the networks in rules; it may be a single
            # address.
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
    """The values that a match compares with, those of nested sets included."""
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
    """The networks of a match's value; none if it is no address."""
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
