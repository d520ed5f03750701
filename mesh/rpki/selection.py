"""Which of half a million VRPs concern us: picked out while they are read, the others forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Literal

from mesh.plan import Network
from mesh.rpki.errors import Unread
from mesh.rpki.validity import Vrp

BITS = {4: 32, 6: 128}
HIGHEST_ASN = 0xFFFFFFFF
MOST = 10_000
"""VRPs that may concern us; a network has a few, and each takes twenty times its text here."""


class Malformed(ValueError):
    """An entry that is no VRP; its text says why."""


@dataclass
class Selection:
    """Takes VRPs one by one and keeps those that cover one of ``prefixes`` or lie in it; Unread
    where they are more than ``MOST``.

    ``seen`` counts all that were taken, ``expired`` those of ours whose time had passed at ``now``
    (seconds since 1970).
    """

    prefixes: Iterable[Network]
    now: float
    kept: set[Vrp] = field(default_factory=set)
    seen: int = 0
    expired: int = 0

    def __post_init__(self) -> None:
        # Numbers, since half a million networks of the standard library would take ten seconds.
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
        """Take a VRP whose address is the number of its bits; Malformed where there is no such."""
        bits = BITS[version]
        if not 0 <= length <= max_length <= bits:
            raise Malformed(f"maxLength {max_length} does not lie between /{length} and /{bits}")
        if address & ((1 << (bits - length)) - 1):
            raise Malformed(f"the prefix has bits behind its length of {length}")
        if not 0 <= asn <= HIGHEST_ASN:
            raise Malformed(f"{asn} is no ASN")
        self.seen += 1
        for ours, our_length in self._ours[version]:
            rest = bits - min(length, our_length)
            if address >> rest == ours >> rest:
                self._keep(version, address, length, max_length, asn, expires)
                break

    def take_text(self, prefix: Any, max_length: Any, asn: Any, expires: Any = None) -> None:
        """Take a VRP as validators write it: ``192.0.2.0/24``, ``24`` (the prefix's own length
        where it is None), ``AS64496`` or ``64496``; Malformed where it is not."""
        if not isinstance(prefix, str):
            raise Malformed("it has no prefix")
        address, _, digits = prefix.partition("/")
        family: Literal[4, 6] = 6 if ":" in address else 4
        try:
            packed = inet_pton(AF_INET6 if family == 6 else AF_INET, address)
        except (OSError, ValueError):
            raise Malformed("its prefix is none") from None
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
            raise Unread(
                f"more than {MOST} of its VRPs concern these prefixes", "look who wrote that list"
            )


def _number(value: Any, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    raise Malformed(f"{what} is no number")


def _asn(value: Any) -> int:
    if isinstance(value, str) and value[:2].upper() == "AS":
        value = value[2:]
    return _number(value, "the ASN")
