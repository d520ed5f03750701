"""The aggregates of a stack file, their more-specifics, and which nodes announce each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

from mesh.spec.ids import split_id
from mesh.spec.model import Node, Prefixes
from mesh.spec.steering import edges

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Announced:
    """A prefix of ``mesh:prefixes``. ``key`` is its key; ``by`` are the regions and nodes that
    announce it, None for all edges. ``covering`` is the aggregate of which it is a more-specific.
    """

    key: str
    prefix: Network
    by: tuple[str, ...] | None
    covering: Network | None = None
    is_more_specific: bool = False

    @property
    def family(self) -> str:
        """Its family, as keys name it."""
        return f"ipv{self.prefix.version}"

    def is_at(self, node_id: str) -> bool:
        """Whether the stack file has this node announce it."""
        return self.by is None or node_id in self.by or split_id(node_id)[0] in self.by


def announced(prefixes: Prefixes) -> tuple[Announced, ...]:
    """Everything that is announced: IPv4 first, aggregates before their more-specifics, and each in
    the order of the stack file."""
    aggregates = (*_listed("ipv4", prefixes.every4), *_listed("ipv6", prefixes.every6))
    found = [*aggregates, *_more_specifics(prefixes, aggregates)]
    return tuple(sorted(found, key=lambda each: each.prefix.version))


def _listed(family: str, value: Any) -> Iterator[Announced]:
    if value is None:
        return
    is_list = isinstance(value, tuple)
    for number, entry in enumerate(value if is_list else (value,)):
        key = f"mesh:prefixes.{family}" + (f".{number}" if is_list else "")
        if isinstance(entry, IPv4Network | IPv6Network):
            yield Announced(key, entry, None)
        else:
            yield Announced(key, entry.prefix, entry.announced_by)


def _more_specifics(prefixes: Prefixes, aggregates: Sequence[Announced]) -> Iterator[Announced]:
    for number, each in enumerate(prefixes.more_specifics):
        covering = next((a.prefix for a in aggregates if is_inside(each.prefix, a.prefix)), None)
        key = f"mesh:prefixes.moreSpecifics.{number}"
        yield Announced(key, each.prefix, each.announced_by, covering, is_more_specific=True)


def aggregates(prefixes: Prefixes) -> tuple[Network, ...]:
    """The aggregates without their more-specifics, IPv4 first."""
    return tuple(each.prefix for each in announced(prefixes) if not each.is_more_specific)


def is_inside(inner: Network, outer: Network) -> bool:
    """Whether a prefix is a longer one inside another."""
    same = inner.version == outer.version and inner != outer
    return same and inner.subnet_of(outer)  # type: ignore[arg-type]  # checked by version


def prefix_of(address: IPv4Address | IPv6Address, found: Sequence[Announced]) -> Announced | None:
    """The longest announced prefix that holds an address; None where there is none."""
    holding = [
        each for each in found if each.prefix.version == address.version and address in each.prefix
    ]
    return max(holding, key=lambda each: each.prefix.prefixlen, default=None)


def able(nodes: Mapping[str, Node], prefixes: Prefixes) -> dict[str, tuple[str, ...]]:
    """The nodes with an upstream session of each family, by family."""
    every = edges(nodes, prefixes)
    return {
        family: tuple(sorted({edge.node for edge in every if edge.family == family}))
        for family in ("ipv4", "ipv6")
    }


def announcers(each: Announced, of_family: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The nodes that announce a prefix: those of ``announcedBy`` with an upstream of its family."""
    return tuple(node_id for node_id in of_family[each.family] if each.is_at(node_id))


def limited(prefixes: Prefixes, nodes: Mapping[str, Node]) -> tuple[tuple[str, ...], ...]:
    """The sets of nodes that announce an aggregate which not every edge of its family announces,
    each once, in the order of the stack file. The others' replies from it leave there."""
    of_family = able(nodes, prefixes)
    sets = (
        announcers(each, of_family)
        for each in announced(prefixes)
        if not each.is_more_specific and announcers(each, of_family) != of_family[each.family]
    )
    return tuple(dict.fromkeys(sets))
