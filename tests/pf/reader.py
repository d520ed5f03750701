"""A strict reader of pf.conf: the forms that we write, by pf.conf(5) and the checks of pfctl(8).
Anything else is an error, also where pf would take it."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_network
from typing import Literal

from tests.pf.rules import Host, Interface, Network, Rule, Ruleset, Table, User

TOKEN = re.compile(r'"([A-Za-z0-9-]+)"|([A-Za-z0-9_][A-Za-z0-9_.:-]*)|(!=|[{}(),<>!/])|(\s+)')
OPTIONS = ("ruleset-optimization none", "block-policy drop", "skip on lo")
PROTOCOLS = ("tcp", "udp", "icmp", "icmp6")
TYPES = {
    "icmp": ("echorep", "unreach", "echoreq", "timex", "paramprob"),
    "icmp6": (
        "unreach", "toobig", "timex", "paramprob", "echoreq", "echorep", "listqry", "routeradv",
        "neighbrsol", "neighbradv",
    ),
}  # fmt: skip
"""Names of types as pfctl has them (sbin/pfctl/pfctl_parser.c)."""


class UnreadableError(Exception):
    """A line that is none of our forms, or that pfctl refuses."""


def read(text: str) -> Ruleset:
    """The options, tables and rules of a pf.conf, in their order."""
    options: list[str] = []
    tables: dict[str, Table] = {}
    rules: list[Rule] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = _Words(number, line.partition("#")[0])
        if words.take("set"):
            options.append(words.option())
        elif words.take("table"):
            table = words.table()
            words.must(table.name not in tables, "a table twice")
            tables[table.name] = table
        elif words.left:
            rules.append(words.rule(tables))
        words.must(not words.left, f"more: {words.left}")
    return Ruleset(tuple(options), tuple(tables.values()), tuple(rules))


class _Words:
    """What is left of one line."""

    def __init__(self, number: int, line: str) -> None:
        self.number, self.line = number, line
        self.left: list[str] = []
        at = 0
        while at < len(line):
            found = TOKEN.match(line, at)
            self.must(found is not None, f"what is {line[at:]!r}?")
            assert found is not None
            quoted, word, sign, _ = found.groups()
            self.left += [f'"{quoted}'] if quoted else [word] if word else [sign] if sign else []
            at = found.end()

    def must(self, holds: bool, why: str) -> None:
        """An error that names the line, unless it holds."""
        if not holds:
            raise UnreadableError(f"line {self.number}: {why}: {self.line}")

    def take(self, *words: str) -> bool:
        """Whether these come next; then they are read."""
        if self.left[: len(words)] != list(words):
            return False
        del self.left[: len(words)]
        return True

    def next(self, what: str, pattern: str) -> str:
        """The next word, which has to have a form."""
        self.must(bool(self.left), f"{what} is missing")
        word = self.left.pop(0)
        self.must(re.fullmatch(pattern, word) is not None, f"{word} is no {what}")
        return word

    def sign(self, *signs: str) -> None:
        """These have to come next."""
        self.must(self.take(*signs), f"no {' '.join(signs)}")

    def number_(self, what: str) -> int:
        """A number."""
        return int(self.next(what, r"\d{1,5}"))

    def option(self) -> str:
        """What follows ``set``."""
        text, self.left = " ".join(self.left), []
        self.must(text in OPTIONS, "unknown option")
        return text

    def table_name(self) -> str:
        """A name in angle brackets; pf has 31 characters for it."""
        self.sign("<")
        name = self.next("name of a table", r"[a-z][a-z0-9_]{0,30}")
        self.sign(">")
        return name

    def network(self) -> Network:
        """An address or a network, without bits after its length."""
        address = self.next("address", r"[0-9a-f.:]+")
        length = f"/{self.number_('length')}" if self.take("/") else ""
        try:
            return ip_network(address + length)
        except ValueError as error:
            raise UnreadableError(f"line {self.number}: {error}: {self.line}") from error

    def table(self) -> Table:
        """What follows ``table``."""
        name = self.table_name()
        if self.take("persist"):
            return Table(name, constant=False)
        self.sign("const", "{")
        networks: list[Network] = []
        negated: list[Network] = []
        while not self.take("}"):
            (negated if self.take("!") else networks).append(self.network())
            self.must(self.take(",") != (self.left[:1] == ["}"]), "a comma, or the end")
        self.must(not set(networks) & set(negated), "in it, and not in it")
        return Table(name, True, tuple(networks), tuple(negated))

    def hosts(self, tables: dict[str, Table]) -> tuple[Host, ...]:
        """What follows ``from`` and ``to``."""
        if self.take("any"):
            return ()
        if not self.take("{"):
            return (self.host(tables),)
        found: list[Host] = []
        while not self.take("}"):
            found.append(self.host(tables))
            # A list makes a rule of each: one that excludes something lets in what another does.
            self.must(not found[-1].negated, "a negation in a list")
            self.must(self.take(",") != (self.left[:1] == ["}"]), "a comma, or the end")
        self.must(bool(found), "an empty list")
        return tuple(found)

    def host(self, tables: dict[str, Table]) -> Host:
        """A table, a network, or the machine's own addresses."""
        negated = self.take("!")
        if self.take("(", "self", ")"):
            return Host(negated=negated)
        if self.left[:1] == ["<"]:
            name = self.table_name()
            self.must(name in tables, "a table that is not there")
            return Host(table=name, negated=negated)
        return Host(network=self.network(), negated=negated)

    def ports(self) -> tuple[int, int] | None:
        """A port or a range of ports, if there is one."""
        if not self.take("port"):
            return None
        low, _, high = self.next("port", r"\d{1,5}(:\d{1,5})?").partition(":")
        found = int(low), int(high or low)
        self.must(0 < found[0] <= found[1] < 65536, "a range of ports")
        return found

    def rule(self, tables: dict[str, Table]) -> Rule:
        """A rule, in the order of pf.conf(5)'s grammar."""
        rule = Rule(action=self._action(), line=self.number)
        if rule.action == "block":
            rule = replace(rule, answers=self.take("return-rst"))
            self.must(rule.answers or self.take("drop"), "drop or return-rst")
        direction: Literal["in", "out"] | None = (
            "in" if self.take("in") else "out" if self.take("out") else None
        )
        rule = replace(rule, direction=direction, quick=self.take("quick"))
        if self.take("on"):
            negated = self.take("!")
            name = self.next("interface", r"[a-z][a-z0-9.]{0,14}")
            rule = replace(rule, interface=Interface(name, negated))
        family: Literal[4, 6] | None = 4 if self.take("inet") else 6 if self.take("inet6") else None
        rule = replace(rule, family=family)
        if self.take("proto"):
            rule = replace(rule, protocol=self.next("protocol", "|".join(PROTOCOLS)))
        if not self.take("all") and self.take("from"):
            sources, ports = self.hosts(tables), self.ports()
            self.sign("to")
            rule = replace(
                rule, sources=sources, source_ports=ports,
                destinations=self.hosts(tables), ports=self.ports(),
            )  # fmt: skip
        return self._checked(self._options(rule))

    def _action(self) -> Literal["pass", "block", "match"]:
        for action in ("pass", "block", "match"):
            if self.take(action):
                return action
        raise UnreadableError(f"line {self.number}: no rule: {self.line}")

    def _options(self, rule: Rule) -> Rule:
        """The rest of a rule; each option once."""
        seen: set[str] = set()
        stateless = False
        while self.left:
            word = self.left.pop(0)
            self.must(word not in seen, f"{word} twice")
            seen.add(word)
            if word in ("icmp-type", "icmp6-type"):
                self.must(rule.protocol == word.removesuffix("-type"), "of another protocol")
                rule = replace(rule, types=self._types(rule.protocol or ""))
            elif word == "no":
                self.sign("state")
                stateless = True
            elif word == "user":
                negated = self.take("!=")
                rule = replace(rule, user=User(self.number_("user"), negated))
            elif word == "received-on":
                rule = replace(rule, received_on=self.next("interface", r"[a-z][a-z0-9.]{0,14}"))
            elif word in ("tag", "tagged"):
                name = self.next("tag", r"mesh_[a-z]+")
                rule = replace(rule, tag=name) if word == "tag" else replace(rule, tagged=name)
            elif word == "rtable":
                rule = replace(rule, rtable=self.number_("routing table"))
            elif word == "scrub":
                self.sign("(", "max-mss")
                rule = replace(rule, max_mss=self.number_("segment size"))
                self.sign(")")
            elif word == "max-pkt-rate":
                packets = self.number_("number")
                self.sign("/")
                rule = replace(rule, rate=(packets, self.number_("seconds")))
            elif word == "label":
                rule = replace(rule, label=self.next("label", r'"[A-Za-z0-9-]{1,63}')[1:])
            else:
                self.must(False, f"unknown option {word}")
        self.must(not stateless or rule.action == "pass", "no state without pass")
        return replace(rule, keeps_state=rule.action == "pass" and not stateless)

    def _types(self, protocol: str) -> tuple[str, ...]:
        allowed = "|".join(TYPES[protocol])
        if not self.take("{"):
            return (self.next("type", allowed),)
        found: list[str] = []
        while not self.take("}"):
            found.append(self.next("type", allowed))
            self.must(self.take(",") != (self.left[:1] == ["}"]), "a comma, or the end")
        return tuple(found)

    def _checked(self, rule: Rule) -> Rule:
        """What pfctl refuses, and what has no effect and so is an error of ours."""
        has_ports = rule.source_ports or rule.ports
        self.must(not has_ports or rule.protocol in ("tcp", "udp"), "ports need tcp or udp")
        self.must(rule.user is None or rule.protocol in ("tcp", "udp"), "user needs tcp or udp")
        self.must(rule.user is None or rule.direction == "out", "user of what comes in")
        self.must(rule.rtable is None or rule.direction == "in", "rtable after routing")
        self.must(not rule.received_on or rule.direction == "out", "received-on of what comes in")
        # sys/net/pf.c: a packet without a state has the size of the rule that decides alone.
        self.must(rule.max_mss is None or rule.action == "pass", "max-mss where none decides")
        self.must(not rule.answers or rule.protocol == "tcp", "a reset is TCP's")
        self.must(rule.family != 4 or rule.protocol != "icmp6", "ICMPv6 over IPv4")
        self.must(rule.family != 6 or rule.protocol != "icmp", "ICMP over IPv6")
        self.must(rule.protocol not in ("icmp", "icmp6") or rule.family is not None, "no family")
        for host in (*rule.sources, *rule.destinations):
            fits = host.network is None or rule.family in (None, host.network.version)
            self.must(fits, "an address of another family")
        return rule
