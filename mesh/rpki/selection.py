"""Selects the VRPs that concern some prefixes while half a million are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Literal

from mesh.plan import Network
from mesh.rpki.errors import SourceError
from mesh.rpki.validity import Vrp

BITS = {4: 32, 6: 128}
HIGHEST_ASN = 0xFFFFFFFF
MOST = 10_000
"""VRPs that are kept; a network has a few."""


class Malformed(ValueError):
    """An entry is not a VRP; the message gives the reason."""


@dataclass
class Selection:
    """Takes VRPs one by one and keeps those that cover one of ``prefixes`` or are inside it; raises
    SourceError where these are more than ``MOST``.

    ``seen`` counts all VRPs, ``expired`` the selected ones that had expired at ``now`` (seconds
    since the epoch).
    """

    prefixes: Iterable[Network]
    now: float
    kept: set[Vrp] = field(default_factory=set)
    seen: int = 0
    expired: int = 0

    def __post_init__(self) -> None:
        # As numbers: half a million ip_network objects would take ten seconds.
        self._ours: dict[int, list[tuple[int, int]]] = {4: [], 6: []}
        for each in self.prefixes:
            self._ours[each.version].append((int(each.network_address), each.prefixlen))

    def take(
        self,
        version: Literal[4, 6],
        address: int,
        length: int,
        max_length: int,
        asn: int,
        expires: float | None = None,
    ) -> None:
        """Takes a VRP with its address as a number; raises Malformed."""
        bits = BITS[version]
        if not 0 <= length <= max_length <= bits:
            raise Malformed(f"maxLength {max_length} is not between /{length} and /{bits}")
        if address & ((1 << (bits - length)) - 1):
            raise Malformed(f"the prefix has bits set beyond its length of {length}")
        if not 0 <= asn <= HIGHEST_ASN:
            raise Malformed(f"{asn} is not an ASN")
        self.seen += 1
        for ours, our_length in self._ours[version]:
            rest = bits - min(length, our_length)
            if address >> rest == ours >> rest:
                self._keep(version, address, length, max_length, asn, expires)
                break

    def take_text(self, prefix: Any, max_length: Any, asn: Any, expires: Any = None) -> None:
        """Takes a VRP as validators write it: ``192.0.2.0/24``, ``24`` (None: the prefix's length),
        ``AS64496`` or ``64496``; raises Malformed."""
        if not isinstance(prefix, str):
            raise Malformed("it has no prefix")
        address, _, digits = prefix.partition("/")
        family: Literal[4, 6] = 6 if ":" in address else 4
        try:
            packed = inet_pton(AF_INET6 if family == 6 else AF_INET, address)
        except (OSError, ValueError):
            raise Malformed("its prefix is invalid") from None
        length = _number(digits, "the prefix's length")
        self.take(
            family,
            int.from_bytes(packed),
            length,
            length if max_length is None else _number(max_length, "maxLength"),
            _asn(asn),
            None if expires is None else _number(expires, "the time of expiry"),
        )

    def _keep(
        self,
        version: int,
        address: int,
        length: int,
        max_length: int,
        asn: int,
        expires: float | None,
    ) -> None:
        if expires is not None and expires <= self.now:
            self.expired += 1
            return
        kind = IPv6Network if version == 6 else IPv4Network
        self.kept.add(Vrp(kind((address, length)), max_length, asn))
        if len(self.kept) > MOST:
            raise SourceError(
                f"more than {MOST} of its VRPs concern these prefixes", "check who wrote that list"
            )


def _number(value: Any, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    raise Malformed(f"{what} is not a number")


def _asn(value: Any) -> int:
    if isinstance(value, str) and value[:2].upper() == "AS":
        value = value[2:]
    return _number(value, "the ASN")
