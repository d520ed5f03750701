"""What pf does with packets by its rules: pf.conf(5), and sys/net/pf.c where that says less.

Rates are not counted; segments with impossible flags and packets with IP options, which pf drops by
itself, are not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from tests.pf.packets import DISCOVERY, REPLIES, Packet
from tests.pf.rules import Address, Direction, Host, Interface, Network, Rule, Ruleset

Flow = tuple[str, str, int, str, int]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a packet, and by which rule; None where a state or no rule decided."""

    passes: bool
    rule: Rule | None = None
    rtable: int = 0
    tag: str = ""
    max_mss: int | None = None

    @property
    def resets(self) -> bool:
        """Whether who sent it is told."""
        return not self.passes and self.rule is not None and self.rule.answers


@dataclass
class Pf:
    """A machine's pf. ``filled`` is what tables hold that are kept outside the file, ``own`` are
    the addresses of its interfaces, ``groups`` the groups of each interface. ``states`` are flows
    as they were seen first, with the segment size that they have."""

    ruleset: Ruleset
    own: frozenset[Address]
    groups: Mapping[str, tuple[str, ...]]
    filled: Mapping[str, Iterable[str]] = field(default_factory=dict)
    states: dict[tuple[Direction, Flow], int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rules = {
            way: [rule for rule in self.ruleset.rules if rule.direction in (None, way)]
            for way in ("in", "out")
        }
        self._known: dict[tuple[str, tuple[Host, ...]], bool] = {}
        self._tables: dict[str, list[tuple[Network, bool]]] = {}
        for table in self.ruleset.tables:
            here = [ip_network(each) for each in self.filled.get(table.name, ())]
            assert not (here and table.constant), "nobody fills a constant table"
            held = [(each, True) for each in (*table.networks, *here)]
            held += [(each, False) for each in table.negated]
            self._tables[table.name] = sorted(held, key=lambda one: -one[0].prefixlen)

    def decide(
        self, packet: Packet, direction: Direction, interface: str, came: str = "", tag: str = ""
    ) -> Decision:
        """What becomes of a packet that comes in or goes out there; ``came`` is the interface of
        one that is forwarded, and ``tag`` what the rules for incoming packets gave it."""
        if "lo" in self.groups[interface] and "skip on lo" in self.ruleset.options:
            return Decision(True)
        if packet.kind in DISCOVERY and packet.hops != 255:
            return Decision(False)
        state = self._state(packet, direction)
        if state is not None:
            return Decision(True, max_mss=self.states[state])
        rtable, last = 0, None
        for rule in self._rules[direction]:
            if not self._matches(rule, packet, interface, came, tag):
                continue
            tag = rule.tag or tag
            if rule.rtable is not None:
                rtable = rule.rtable
            if rule.action != "match":
                last = rule
            if rule.quick:
                break
        if last is None:
            return Decision(True, None, rtable, tag)
        passes = last.action == "pass"
        if passes and last.keeps_state and packet.kind in ("", "echoreq", "neighbrsol"):
            self.states[direction, packet.flow] = last.max_mss
        return Decision(passes, last, rtable, tag, last.max_mss)

    def _state(self, packet: Packet, direction: Direction) -> tuple[Direction, Flow] | None:
        """The state that a packet belongs to: of its own flow in that direction, or of the opposite
        one. They are floating: on whichever interface."""
        other: Direction = "out" if direction == "in" else "in"
        for key in ((direction, packet.flow), (other, packet.answer().flow)):
            if key in self.states:
                return key
        return None

    def _matches(self, rule: Rule, packet: Packet, interface: str, came: str, tag: str) -> bool:
        return (
            rule.family in (None, packet.family)
            and rule.protocol in (None, packet.protocol)
            and self._on(rule.interface, interface)
            and self._is_any(packet.source, rule.sources)
            and self._is_any(packet.destination, rule.destinations)
            and _between(rule.source_ports, packet.source_port)
            and _between(rule.ports, packet.port)
            and (not rule.types or packet.kind in rule.types)
            and (not rule.tagged or rule.tagged == tag)
            and self._received(rule.received_on, came)
            and _sent(rule, packet, came)
            and _may_begin(rule, packet)
        )

    def _on(self, wanted: Interface | None, interface: str) -> bool:
        if wanted is None:
            return True
        return (wanted.name in (interface, *self.groups[interface])) != wanted.negated

    def _received(self, wanted: str, came: str) -> bool:
        """``any`` is each but loopback; what this machine sends came in nowhere."""
        if not wanted or not came:
            return not wanted
        return wanted in (came, *self.groups[came]) or (
            wanted == "any" and "lo" not in self.groups[came]
        )

    def _is_any(self, text: str, hosts: tuple[Host, ...]) -> bool:
        if (text, hosts) not in self._known:
            address = ip_address(text)
            found = any(self._is(address, host) != host.negated for host in hosts)
            self._known[text, hosts] = found or not hosts
        return self._known[text, hosts]

    def _is(self, address: Address, host: Host) -> bool:
        if host.network is not None:
            return address in host.network
        if not host.table:
            return address in self.own
        # The longest network says whether it is in the table.
        return next((held for each, held in self._tables[host.table] if address in each), False)


def _between(wanted: tuple[int, int] | None, port: int) -> bool:
    return wanted is None or wanted[0] <= port <= wanted[1]


def _sent(rule: Rule, packet: Packet, came: str) -> bool:
    """Whether the rule is for the user who sends: a forwarded packet has none, and is not his."""
    if rule.user is None:
        return True
    return (not came and packet.user == rule.user.number) != rule.user.negated


def _may_begin(rule: Rule, packet: Packet) -> bool:
    """A rule that keeps state matches what may begin one: a SYN, and no reply of ICMP."""
    if not rule.keeps_state:
        return True
    if packet.protocol == "tcp":
        return "S" in packet.flags and "A" not in packet.flags
    return packet.kind not in REPLIES
