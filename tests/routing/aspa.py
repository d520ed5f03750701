"""What draft-ietf-sidrops-aspa-verification makes of a path, written from its text (section 6)."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from itertools import groupby, pairwise

Said = Mapping[int, frozenset[int]]
"""The providers of each AS that has told them."""
Path = Sequence[int]
"""From the neighbor to the origin."""


class Verdict(Enum):
    """Of a path."""

    VALID = auto()
    UNKNOWN = auto()
    INVALID = auto()


Judge = Callable[[Said, Path], Verdict]


class Hop(Enum):
    """What an AS says of another as its provider."""

    PROVIDER = auto()
    NOT_PROVIDER = auto()
    UNSAID = auto()


def upstream(said: Said, path: Path) -> Verdict:
    """Heard from a customer or a peer: every AS has to be its next one's provider."""
    hops = _hops(said, _from_origin(path))
    if Hop.NOT_PROVIDER in hops:
        return Verdict.INVALID
    return Verdict.UNKNOWN if Hop.UNSAID in hops else Verdict.VALID


def downstream(said: Said, path: Path) -> Verdict:
    """Heard from a provider: up from the origin, at most once across, down to the neighbor."""
    up = _from_origin(path)
    hops, back = _hops(said, up), _hops(said, up[::-1])

    def reach(*ends: Hop) -> int:
        """ASes on the two slopes, each until one of these."""
        slopes = ((n for n, hop in enumerate(way) if hop in ends) for way in (hops, back))
        return sum(next(slope, len(up) - 1) + 1 for slope in slopes)

    if reach(Hop.NOT_PROVIDER) < len(up):
        return Verdict.INVALID
    return Verdict.UNKNOWN if reach(Hop.NOT_PROVIDER, Hop.UNSAID) < len(up) else Verdict.VALID


def path(chance: random.Random, said: Said, known: Sequence[int], length: int) -> list[int]:
    """A path that often goes up or down as was said, and says some ASes twice."""
    found: list[int] = []
    while len(found) < length:
        last = found[-1] if found else chance.choice(known)
        near = sorted(
            said.get(last, frozenset()) | {a for a, above in said.items() if last in above}
        )
        near = [asn for asn in near if asn in known]
        found.append(
            chance.choice(near) if near and chance.random() < 0.6 else chance.choice(known)
        )
        if chance.random() < 0.1:
            found.append(found[-1])
    return found


def _from_origin(path: Path) -> list[int]:
    """Without prepends."""
    return [asn for asn, _ in groupby(path)][::-1]


def _hops(said: Said, ases: Path) -> list[Hop]:
    return [
        Hop.UNSAID
        if lower not in said
        else Hop.PROVIDER
        if upper in said[lower]
        else Hop.NOT_PROVIDER
        for lower, upper in pairwise(ases)
    ]
