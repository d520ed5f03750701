"""Origin validation of one announcement (RFC 6811), with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from mesh.plan.model import Network

AS0 = 0
"""In a ROA: nobody may originate the prefix (RFC 6483, section 4)."""


@dataclass(frozen=True, slots=True)
class Vrp:
    """A validated ROA payload: ``asn`` may originate ``prefix`` and its more-specifics up to
    ``max_length``."""

    prefix: Network
    max_length: int
    asn: int

    def __str__(self) -> str:
        return f"{self.prefix} maxLength {self.max_length} AS{self.asn}"

    def covers(self, prefix: Network) -> bool:
        """Whether ``prefix`` is inside this one's, whatever its length."""
        return inside(prefix, self.prefix)

    def matches(self, prefix: Network, origin: int) -> bool:
        """Whether it authorises ``origin`` to announce ``prefix``."""
        # Only a forged route has the origin AS0 (RFC 7607).
        allowed = origin == self.asn and self.asn != AS0
        return allowed and prefix.prefixlen <= self.max_length and self.covers(prefix)


class State(StrEnum):
    """The validation state of RFC 6811."""

    VALID = "Valid"
    NOT_FOUND = "NotFound"
    INVALID = "Invalid"


class Reason(StrEnum):
    """Why; of several reasons for Invalid the one that is easiest to correct."""

    AUTHORISED = "authorised"
    NO_ROA = "no ROA"
    TOO_LONG = "beyond maxLength"
    WRONG_ORIGIN = "wrong origin"
    NOBODY = "AS0"


@dataclass(frozen=True, slots=True)
class Verdict:
    """State and reason, with the VRPs that cover the prefix in a fixed order, those of the reason
    first."""

    state: State
    reason: Reason
    covering: tuple[Vrp, ...]


def inside(small: Network, large: Network) -> bool:
    """Whether a prefix equals another one or is inside it; never across families."""
    return small.version == large.version and small.subnet_of(large)  # type: ignore[arg-type]


def validate(prefix: Network, origin: int, vrps: Iterable[Vrp]) -> Verdict:
    """Validation by RFC 6811, section 2: Valid where one VRP matches, Invalid where some cover
    the prefix and none matches, NotFound where none covers it."""
    covering = sorted({vrp for vrp in vrps if vrp.covers(prefix)}, key=in_order)
    if not covering:
        return Verdict(State.NOT_FOUND, Reason.NO_ROA, ())
    matching = [vrp for vrp in covering if vrp.matches(prefix, origin)]
    if matching:
        return _verdict(State.VALID, Reason.AUTHORISED, matching, covering)
    short = [vrp for vrp in covering if vrp.asn == origin != AS0]
    if short:
        return _verdict(State.INVALID, Reason.TOO_LONG, short, covering)
    others = [vrp for vrp in covering if vrp.asn != AS0]
    if others:
        return _verdict(State.INVALID, Reason.WRONG_ORIGIN, others, covering)
    return _verdict(State.INVALID, Reason.NOBODY, covering, covering)


def in_order(vrp: Vrp) -> tuple[int, int, int, int, int]:
    """A key by which VRPs are sorted: family, address, lengths, ASN."""
    prefix = vrp.prefix
    first = int(prefix.network_address)
    return (prefix.version, first, prefix.prefixlen, vrp.max_length, vrp.asn)


def _verdict(state: State, reason: Reason, first: list[Vrp], covering: list[Vrp]) -> Verdict:
    rest = [vrp for vrp in covering if vrp not in first]
    return Verdict(state, reason, (*first, *rest))
