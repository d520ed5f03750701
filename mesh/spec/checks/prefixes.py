"""The network's ASN, its aggregates and where they are announced, and that tunnels overlap none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from mesh.limits import MOST_PREFIXES
from mesh.spec.aggregates import Announced, able, aggregates, announced, announcers
from mesh.spec.asns import special
from mesh.spec.examples import for_example
from mesh.spec.ids import split_id
from mesh.spec.model import Node, Prefixes, Region, Tunnels
from mesh.spec.problems import Problem
from mesh.spec.section import Sections
from mesh.spec.traffic import TrafficRule

LONGEST4, LONGEST6 = 24, 48
"""The longest prefixes that the Internet takes (and Vultr accepts)."""


def check_asn(sections: Sections) -> Iterator[Problem]:
    """The network's own ASN has to be a public one."""
    asn = sections.get("asn")
    if asn is None:
        return
    reason = special(asn)
    if reason is not None:
        yield Problem("mesh:asn", str(asn), reason, "give the ASN that your RIR assigned to you")


def check_families(sections: Sections) -> Iterator[Problem]:
    """The network has an aggregate of one family at least."""
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is not None and prefixes.ipv4 is None and prefixes.ipv6 is None:
        yield Problem(
            "mesh:prefixes", "{}", "there is no prefix that could be announced",
            for_example("add ipv4, ipv6 or both", "prefixes", "ipv4"),
        )  # fmt: skip


def check_prefixes(sections: Sections) -> Iterator[Problem]:
    """Aggregates are global, short enough to be accepted, and apart from each other; a
    more-specific lies inside one of them."""
    prefixes: Prefixes | None = sections.get("prefixes")
    if prefixes is None:
        return
    every = announced(prefixes)
    for each in every:
        yield from _check_prefix(each)
    aggregates = [each for each in every if not each.is_more_specific]
    for earlier, later in combinations(aggregates, 2):
        yield from _check_apart(earlier, later)
    more_specifics = [each for each in every if each.is_more_specific]
    for each in more_specifics:
        if each.covering is None:
            yield Problem(
                f"{each.key}.prefix", str(each.prefix), "it lies inside none of the aggregates",
                f"give a part of {' or '.join(str(one.prefix) for one in aggregates)}",
            )  # fmt: skip
    for earlier, later in combinations(more_specifics, 2):
        yield from _check_apart(earlier, later)


def _check_prefix(each: Announced) -> Iterator[Problem]:
    longest = LONGEST4 if each.prefix.version == 4 else LONGEST6
    if each.prefix.prefixlen > longest:
        what = "a prefix" if each.is_more_specific else "an aggregate"
        yield Problem(
            each.key, str(each.prefix), f"the Internet takes nothing longer than /{longest}",
            f"give {what} of /{longest} or shorter",
        )  # fmt: skip
    if not each.is_more_specific and (not each.prefix.is_global or each.prefix.is_multicast):
        cure = "give the prefix that your RIR assigned to you"
        yield Problem(
            each.key, str(each.prefix), "this range is not global unicast",
            for_example(cure, "prefixes", each.family),
        )  # fmt: skip


def _check_apart(earlier: Announced, later: Announced) -> Iterator[Problem]:
    """Two aggregates, or two more-specifics, share no address."""
    if earlier.prefix == later.prefix:
        yield Problem(
            later.key, str(later.prefix), f"{earlier.key} has it already", "remove one of them"
        )
    elif earlier.prefix.version == later.prefix.version and earlier.prefix.overlaps(later.prefix):
        cure = "make them one entry, whose announcedBy lists the places of both"
        if not later.is_more_specific:
            cure = (
                "keep the shorter one; a part of it that is announced by itself is an entry of "
                "mesh:prefixes.moreSpecifics"
            )
        yield Problem(
            later.key, str(later.prefix), f"it overlaps {earlier.prefix} of {earlier.key}", cure
        )


def check_announcers(sections: Sections) -> Iterator[Problem]:
    """``announcedBy`` names regions and nodes that have a session of the prefix's family, and every
    prefix is announced somewhere."""
    prefixes: Prefixes | None = sections.get("prefixes")
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    regions: Mapping[str, Region] | None = sections.get("regions")
    if prefixes is None or nodes is None or regions is None:
        return
    of_family = able(nodes, prefixes)
    for each in announced(prefixes):
        some = of_family[each.family]
        for place in each.by or ():
            yield from _check_place(each, place, nodes, regions, some)
        if each.by is None and not some and any(of_family.values()):
            family = f"IPv{each.prefix.version}"
            # A family's only prefix may wait for its edge.
            may_wait = not each.key.rpartition(".")[2].isdecimal()
            yield Problem(
                each.key, str(each.prefix),
                f"no node has an {family} session with an upstream, so nobody would announce it",
                f"add the {family} neighbor of an upstream, or a node whose provider takes "
                f"{family} announcements, or remove the prefix",
                severity="warning" if may_wait else "error",
            )  # fmt: skip


def check_numbers(sections: Sections) -> Iterator[Problem]:
    """No node announces more prefixes than its report names."""
    prefixes: Prefixes | None = sections.get("prefixes")
    nodes: Mapping[str, Node] | None = sections.get("nodes")
    if prefixes is None or nodes is None:
        return
    of_family = able(nodes, prefixes)
    counts: Counter[tuple[str, str]] = Counter()
    for each in announced(prefixes):
        places = [(each.family, node_id) for node_id in announcers(each, of_family)]
        counts.update(places)
        full = sorted(
            node_id for family, node_id in places if counts[family, node_id] > MOST_PREFIXES
        )
        if full:
            yield Problem(
                each.key, str(each.prefix),
                f"{', '.join(full)} would announce more than {MOST_PREFIXES} prefixes of IPv"
                f"{each.prefix.version}", "announce a shorter prefix that covers several, or name "
                "other nodes in announcedBy",
            )  # fmt: skip


def check_rules(sections: Sections) -> Iterator[Problem]:
    """A rule of ``mesh:traffic`` names a prefix only where its family has no other: what is asked
    of an upstream holds for all that a session announces."""
    prefixes: Prefixes | None = sections.get("prefixes")
    rules: Sequence[TrafficRule] = sections.get("traffic") or ()
    every = () if prefixes is None else announced(prefixes)
    for rule in rules:
        version = None if rule.prefix is None else rule.prefix.version
        alike = [each for each in every if each.prefix.version == version]
        if len(alike) > 1:
            yield Problem(
                f"mesh:traffic.{rule.name}.prefix", str(rule.prefix),
                f"the network announces several IPv{version} prefixes, and a rule holds for all "
                "that a session announces", "remove it, and limit the rule by nodes or regions",
            )  # fmt: skip


def _check_place(
    each: Announced,
    place: str,
    nodes: Mapping[str, Node],
    regions: Mapping[str, Region],
    some: Sequence[str],
) -> Iterator[Problem]:
    """One entry of ``announcedBy``."""
    known = sorted({*some, *(split_id(node_id)[0] for node_id in some)})
    cure = f"name one of {', '.join(known) or 'the nodes with such a session'}"
    key, label = f"{each.key}.announcedBy", f"IPv{each.prefix.version}"
    if place not in nodes and place not in regions:
        yield Problem(key, place, "there is no such region or node", cure)
    elif place in nodes and place not in some:
        yield Problem(
            key, place, f"it has no {label} session with an upstream, so it cannot announce "
            f"{each.prefix}", cure,
        )  # fmt: skip
    elif place in regions and not any(split_id(node_id)[0] == place for node_id in some):
        yield Problem(
            key, place, f"no node there has an {label} session with an upstream, so none can "
            f"announce {each.prefix}", cure,
        )  # fmt: skip


def check_overlaps(sections: Sections) -> Iterator[Problem]:
    """Tunnels and aggregates never share an address."""
    prefixes: Prefixes | None = sections.get("prefixes")
    tunnels: Tunnels | None = sections.get("tunnels")
    if prefixes is None or tunnels is None:
        return
    for other in aggregates(prefixes):
        family = f"ipv{other.version}"
        mine = tunnels.ipv4 if other.version == 4 else tunnels.ipv6
        if mine.overlaps(other):
            yield Problem(
                f"mesh:tunnels.{family}", str(mine), f"it overlaps the aggregate {other}",
                "use a private range",
            )  # fmt: skip
