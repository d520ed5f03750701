"""Which upstream sessions a rule of ``mesh:traffic`` applies to, and whether it works there.

Rules are checked before anything changes: an upstream ignores a community that it does not know,
and the traffic would not move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

from mesh.spec import capabilities
from mesh.spec.asns import special
from mesh.spec.ids import split_id
from mesh.spec.model import Node, Prefixes
from mesh.spec.problems import Problem
from mesh.spec.providers import PROVIDERS, Communities, Community, Scope, Upstream
from mesh.spec.section import Sections
from mesh.spec.traffic import WHERE, ToAs, TrafficRule, options

Family = Literal["ipv4", "ipv6"]
LABEL: dict[Family, str] = {"ipv4": "IPv4", "ipv6": "IPv6"}

MOST_IN_PATH = 5
"""Limit of prepends of our own ASN. More move no further traffic (most paths are shorter), and the
longer our path is, the easier a leaked or forged one is preferred."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A node's session with its upstream, of one family, which announces ``prefix``.
    ``communities`` are the upstream's actions where they are known, ``blackhole`` its blackhole
    community."""

    node: str
    family: Family
    prefix: IPv4Network | IPv6Network
    upstream: Upstream
    communities: Communities | None
    blackhole: Community | None

    def __str__(self) -> str:
        where = f"{self.node} {LABEL[self.family]}"
        return f"{where} ({self.upstream.name})" if self.upstream.name else where


def edges(nodes: Mapping[str, Node], prefixes: Prefixes) -> tuple[Edge, ...]:
    """Every session with an upstream, by node and family."""
    found: list[Edge] = []
    for node_id, node in sorted(nodes.items()):
        for upstream in capabilities.upstreams(node_id, node):
            known = (
                upstream,
                capabilities.communities(node_id, node, upstream),
                capabilities.blackhole(node_id, node, upstream),
            )
            if upstream.ipv4 is not None and prefixes.ipv4 is not None:
                found.append(Edge(node_id, "ipv4", prefixes.ipv4, *known))
            if upstream.ipv6 is not None and node.ipv6 and prefixes.ipv6 is not None:
                found.append(Edge(node_id, "ipv6", prefixes.ipv6, *known))
    return tuple(found)


def holds(rule: TrafficRule, edge: Edge) -> bool:
    """Whether a rule applies to a session."""
    return (
        (rule.nodes is None or edge.node in rule.nodes)
        and (rule.regions is None or split_id(edge.node)[0] in rule.regions)
        and (rule.prefix is None or rule.prefix == edge.prefix)
        and (rule.sessions is None or edge.upstream.name in rule.sessions)
    )


def check_traffic(sections: Sections) -> Iterator[Problem]:
    """Every rule names existing nodes and prefixes, its upstreams support its options, and no two
    rules conflict."""
    rules: tuple[TrafficRule, ...] = sections.get("traffic") or ()
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    prefixes: Prefixes | None = sections.get("prefixes")
    if not rules or nodes is None or prefixes is None:
        return
    every = edges(nodes, prefixes)
    names = [rule.name for rule in rules]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(f"mesh:traffic.{name}", name, "two rules have this name", "give each its own")
    for rule in rules:
        here = [edge for edge in every if holds(rule, edge)]
        yield from _check_where(rule, every, nodes, sections.get("regions"))
        if not _is_of_several(rule, prefixes):  # check_rules refuses its prefix
            yield from _check_prefix(rule, every)
        yield from _check_asked(rule, sections.get("asn"))
        yield from dict.fromkeys(_check_able(rule, here))
        yield from _check_preference(rule, here, sections)
    yield from _check_conflicts(rules, every)
    yield from dict.fromkeys(_check_effect(rules, every))
    yield from _check_reach(rules, every)


def _key(rule: TrafficRule, *parts: object) -> str:
    return ".".join(["mesh:traffic", rule.name, *map(str, parts)])


# --- Where a rule holds ----------------------------------------------------------------------


def _check_where(
    rule: TrafficRule,
    every: Sequence[Edge],
    nodes: Mapping[str, Node],
    regions: Mapping[str, Any] | None,
) -> Iterator[Problem]:
    able = sorted({edge.node for edge in every})
    those = f"name one of {', '.join(able)}"
    if rule.nodes is not None and rule.regions is not None:
        yield Problem(
            _key(rule, "regions"), ", ".join(rule.regions), "the rule names nodes as well",
            "name either nodes or regions",
        )  # fmt: skip
    for name in rule.nodes or ():
        if name not in nodes:
            yield Problem(_key(rule, "nodes"), name, "there is no such node", those)
        elif name not in able:
            yield Problem(
                _key(rule, "nodes"), name,
                "it announces to no upstream, so there is nothing to steer", those,
            )  # fmt: skip
    with_edges = {split_id(name)[0] for name in able}
    for name in rule.regions or ():
        if regions is not None and name not in regions:
            yield Problem(
                _key(rule, "regions"), name, "there is no such region",
                f"name one of {', '.join(sorted(with_edges))}",
            )  # fmt: skip
        elif name not in with_edges:
            yield Problem(
                _key(rule, "regions"), name, "no node there has an upstream",
                f"name one of {', '.join(sorted(with_edges))}",
            )  # fmt: skip
    sessions = sorted({edge.upstream.name for edge in every} - {""})
    for name in rule.sessions or ():
        if name not in sessions:
            yield Problem(
                _key(rule, "sessions"), name, "no node has a session of that name in upstreams",
                f"name one of {', '.join(sessions)}" if sessions else "remove the key",
            )  # fmt: skip


def _is_of_several(rule: TrafficRule, prefixes: Prefixes) -> bool:
    """Whether a rule names one of several prefixes of its family."""
    if rule.prefix is None:
        return False
    every = prefixes.every4 if rule.prefix.version == 4 else prefixes.every6
    parts = [each for each in prefixes.more_specifics if each.prefix.version == rule.prefix.version]
    return bool(parts) or (isinstance(every, tuple) and len(every) > 1)


def _check_prefix(rule: TrafficRule, every: Sequence[Edge]) -> Iterator[Problem]:
    if rule.prefix is None:
        return
    aggregates = sorted({str(edge.prefix) for edge in every})
    if str(rule.prefix) not in aggregates:
        yield Problem(
            _key(rule, "prefix"), str(rule.prefix),
            "only aggregates are announced to upstreams, and this is none of them",
            f"write {' or '.join(aggregates)}",
        )  # fmt: skip
        return
    announcers = {edge.node for edge in every if edge.prefix == rule.prefix}
    known = {edge.node for edge in every}
    for name in rule.nodes or ():
        if name in known and name not in announcers:
            yield Problem(
                _key(rule, "prefix"), str(rule.prefix), f"{name} has no session of that family",
                "remove the node from this rule",
            )  # fmt: skip


# --- What a rule asks for --------------------------------------------------------------------


def _check_asked(rule: TrafficRule, own: int | None) -> Iterator[Problem]:
    asks = [name for name in options(TrafficRule) if name not in WHERE]
    if not any([rule.prepend, rule.scope, rule.zero_med, rule.to_as, rule.communities]) and (
        rule.med is None and rule.local_preference is None
    ):
        yield Problem(_key(rule), rule.name, "it asks for nothing", f"add one of {', '.join(asks)}")
    for to in rule.to_as:
        key = _key(rule, "toAs", to.asn)
        reason = special(to.asn)
        if to.asn == own:
            reason = "it is this network's own ASN"
        if reason is not None:
            yield Problem(
                f"{key}.asn", str(to.asn), reason, "give the ASN of a neighbor of the provider"
            )
        if to.prepend is None and to.export is None and not to.zero_med:
            yield Problem(
                key, str(to.asn), "it asks for nothing towards this AS",
                "add one of prepend, export, zeroMed",
            )  # fmt: skip


def _check_able(rule: TrafficRule, here: Iterable[Edge]) -> Iterator[Problem]:
    """Each session's upstream supports the rule's options."""
    for edge in here:
        if edge.communities is None:
            yield from _check_plain(rule, edge.upstream.peer_asn)
        else:
            yield from _check_actions(rule, edge.communities)
        for raw in rule.communities:
            yield from _check_raw(_key(rule, "communities"), raw, edge)


def _check_plain(rule: TrafficRule, peer: int) -> Iterator[Problem]:
    """Options at an upstream whose communities are not known here."""
    asked: list[tuple[str, str]] = []
    if rule.scope not in (None, "all"):
        asked.append(("scope", str(rule.scope)))
    if rule.zero_med:
        asked.append(("zeroMed", "true"))
    if rule.to_as:
        asked.append(("toAs", ", ".join(f"AS{to.asn}" for to in rule.to_as)))
    for option, value in asked:
        yield Problem(
            _key(rule, option), value,
            f"the community by which AS{peer} does this is not known here",
            "list in nodes only those whose provider does it, and add a rule for this one with the "
            "communities that its provider documents",
        )  # fmt: skip
    if rule.prepend is not None and rule.prepend > MOST_IN_PATH:
        yield Problem(
            _key(rule, "prepend"), str(rule.prepend),
            f"more than {MOST_IN_PATH} prepends of our own ASN move no more traffic, and make "
            "it easy for a leak to be preferred",
            f"prepend {MOST_IN_PATH} times at most, or withdraw there",
        )  # fmt: skip


def _check_actions(rule: TrafficRule, actions: Communities) -> Iterator[Problem]:
    most = [(_key(rule, "prepend"), rule.prepend, len(actions.prepend))]
    most += [
        (_key(rule, "toAs", to.asn, "prepend"), to.prepend, len(actions.prepend_to))
        for to in rule.to_as
    ]
    for key, times, limit in most:
        if times is not None and times > limit:
            yield Problem(
                key, str(times), f"AS{actions.asn} prepends {limit} times at most",
                f"give 1 to {limit}",
            )  # fmt: skip
    for to in rule.to_as:
        if to.asn == actions.asn:
            yield Problem(
                _key(rule, "toAs", to.asn, "asn"), str(to.asn),
                "it is the provider itself, to which we announce the aggregate",
                "give the ASN of one of its neighbors",
            )  # fmt: skip


def check_own(sections: Sections) -> Iterator[Problem]:
    """Every session's own ``communities`` are ones that its upstream documents."""
    nodes: Mapping[str, Node] = sections.get("nodes") or {}
    prefixes: Prefixes | None = sections.get("prefixes")
    for edge in () if prefixes is None else edges(nodes, prefixes):
        key = f"mesh:nodes.{edge.node}.upstreams.{edge.upstream.name}.communities"
        for raw in edge.upstream.communities:
            yield from _check_raw(key, raw, edge)


def _check_raw(key: str, raw: Community, edge: Edge) -> Iterator[Problem]:
    """A raw community is one that the session's upstream documents and that no option covers."""
    text, own = written(raw), edge.communities
    peer = edge.upstream.peer_asn if own is None else own.asn
    if raw == edge.blackhole:
        yield Problem(
            key, text, f"AS{peer} would discard all traffic to the whole aggregate",
            "for one address under attack, `mesh blackhole add`",
        )  # fmt: skip
    elif own is not None and (option := own.option(raw)) is not None:
        yield Problem(
            key, text, "an option does the same, and is checked", f"write {option} instead"
        )
    elif own is not None and raw in own.tags:
        yield Problem(
            key, text, f"AS{own.asn} itself marks routes with it ({own.tags[raw]}): when we send "
            "it, nothing happens", "remove it",
        )  # fmt: skip
    elif own is not None and own.claims(raw) and not own.knows(raw):
        yield Problem(
            key, text, f"AS{own.asn} documents no such action",
            f"write one that it documents, or an option: {', '.join(_ACTIONS)}",
        )  # fmt: skip
    for name, provider in PROVIDERS.items():
        other = provider.communities
        if other is None or other is own or not other.claims(raw):
            continue
        if raw[0] == other.asn:
            yield Problem(
                key, text,
                f"it is for AS{other.asn} ({name}), and this rule applies to {edge.node}, whose "
                f"upstream is AS{edge.upstream.peer_asn}",
                f"list nodes at {name} in nodes, or write a community that "
                f"AS{edge.upstream.peer_asn} documents",
            )  # fmt: skip
        elif own is None:
            yield Problem(
                key, text,
                f"communities of {raw[0]} are {name}'s actions; their effect at "
                f"AS{edge.upstream.peer_asn} is not known here",
                f"make sure that AS{edge.upstream.peer_asn} documents it", severity="warning",
            )  # fmt: skip


_ACTIONS = ("prepend", "scope", "zeroMed", "toAs")


def written(community: Community) -> str:
    """A community as text."""
    return ":".join(map(str, community))


def _check_preference(
    rule: TrafficRule, here: Sequence[Edge], sections: Sections
) -> Iterator[Problem]:
    routing, nodes = sections.get("routing"), sections["nodes"]
    if rule.local_preference is None or routing is None or not here:
        return
    takes = {edge.upstream.take or nodes[edge.node].take or routing.take for edge in here}
    if takes == {"none"}:
        yield Problem(
            _key(rule, "localPreference"), str(rule.local_preference),
            "nothing is imported there, so there is no route to prefer",
            "set mesh:routing.import to default or full, or remove it", severity="warning",
        )  # fmt: skip


# --- What rules ask for together -------------------------------------------------------------


def _settings(rule: TrafficRule) -> Iterator[tuple[str, Any]]:
    """The options of a rule that can have one value only on a session."""
    yield from (
        (option, value)
        for option, value in (
            ("prepend", rule.prepend),
            ("scope", rule.scope),
            ("med", rule.med),
            ("localPreference", rule.local_preference),
        )
        if value is not None
    )
    for to in rule.to_as:
        if to.prepend is not None:
            yield f"toAs.{to.asn}.prepend", to.prepend
        if to.export is not None:
            yield f"toAs.{to.asn}.export", to.export


def _check_conflicts(rules: Sequence[TrafficRule], every: Sequence[Edge]) -> Iterator[Problem]:
    """No two rules give one option two values on one session."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for edge in every:
        first: dict[str, tuple[TrafficRule, Any]] = {}
        for rule in (rule for rule in rules if holds(rule, edge)):
            for option, value in _settings(rule):
                before, other = first.setdefault(option, (rule, value))
                if other != value:
                    conflict = (_key(rule, option), _shown(value), before.name, _shown(other))
                    found.setdefault(conflict, []).append(str(edge))
    for (key, value, name, other), sessions in found.items():
        yield Problem(
            key, value, f"{name} sets {other}, and both apply to {', '.join(sessions)}",
            "set it in one rule, or limit each rule by nodes or prefix",
        )  # fmt: skip


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_effect(rules: Sequence[TrafficRule], every: Sequence[Edge]) -> Iterator[Problem]:
    """An action towards an AS needs an announcement that reaches this AS."""
    for edge in every:
        actions = edge.communities
        if actions is None:
            continue
        here = [rule for rule in rules if holds(rule, edge)]
        scope: Scope = next((rule.scope for rule in here if rule.scope is not None), "all")
        exports = {to.asn: to.export for rule in here for to in rule.to_as if to.export is not None}
        for rule in here:
            for to in rule.to_as:
                yield from _check_exported(_key(rule, "toAs", to.asn), to, exports, scope, actions)
            if scope == "providerOnly" and True not in exports.values():
                asked = [("prepend", rule.prepend), ("zeroMed", rule.zero_med)]
                for option, value in asked:
                    if value:
                        yield Problem(
                            _key(rule, option), _shown(value),
                            f"with scope: providerOnly AS{actions.asn} announces it to no other AS",
                            "remove one of the two",
                        )  # fmt: skip


def _check_exported(
    key: str, to: ToAs, exports: Mapping[int, bool], scope: Scope, actions: Communities
) -> Iterator[Problem]:
    asked = [("prepend", to.prepend), ("zeroMed", to.zero_med)]
    for option, value in asked:
        if value and exports.get(to.asn) is False:
            yield Problem(
                f"{key}.{option}", _shown(value),
                f"nothing is announced to AS{to.asn} (export: false)", "remove one of the two",
            )  # fmt: skip
        elif value and scope == "providerOnly" and to.asn not in exports:
            yield Problem(
                f"{key}.{option}", _shown(value),
                f"with scope: providerOnly AS{actions.asn} announces nothing to AS{to.asn}",
                "add export: true beside it, or remove it",
            )  # fmt: skip
    if to.export and not actions.restrains(scope):
        yield Problem(
            f"{key}.export", "true",
            f"AS{actions.asn} announces to all ASes, unless a scope forbids it"
            if scope == "all"
            else f"export: true does not lift scope: {scope}",
            "remove it, or add scope: providerOnly, ixpOnly or routeServersOnly",
        )  # fmt: skip


def _check_reach(rules: Sequence[TrafficRule], every: Sequence[Edge]) -> Iterator[Problem]:
    """At least one provider announces each aggregate to the Internet."""
    for prefix in dict.fromkeys(edge.prefix for edge in every):
        announcing = [edge for edge in every if edge.prefix == prefix]
        if all(_kept_inside(rules, edge) for edge in announcing):
            yield Problem(
                "mesh:traffic", "scope: providerOnly",
                f"at every edge it keeps the provider from announcing {prefix} to others, so the "
                "Internet would not reach it", "leave an edge out of it", severity="warning",
            )  # fmt: skip


def _kept_inside(rules: Sequence[TrafficRule], edge: Edge) -> bool:
    here = [rule for rule in rules if holds(rule, edge)]
    lifted = any(to.export for rule in here for to in rule.to_as)
    return (
        edge.communities is not None
        and not lifted
        and any(rule.scope == "providerOnly" for rule in here)
    )
