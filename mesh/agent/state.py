"""What the agent keeps on disk: the highest manifest and the highest orders it has seen, and what
is in force.

The highest numbers outlive everything: what is below them is refused even after a reboot.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict

from mesh.agent import places
from mesh.agent.host import Host
from mesh.trust import signing
from mesh.trust.documents import Manifest, Part
from mesh.trust.encoding import Malformed, dump, parse, sha256
from mesh.trust.orders import KINDS, Kind, Order
from mesh.trust.signing import BadSignature, Purpose, Signed

HIGHEST = f"{places.STATE}/highest.json"
APPLIED = f"{places.STATE}/applied.json"
T = TypeVar("T", bound=Order)


@dataclass(frozen=True, slots=True)
class Known:
    """A manifest whose signature has been verified, and the envelope that it came in."""

    envelope: Signed
    manifest: Manifest

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.manifest.generation


@dataclass(frozen=True)
class Ordered(Generic[T]):
    """An order whose signature has been verified, its kind, and the envelope that it came in."""

    kind: Kind[T]
    envelope: Signed
    order: T

    @property
    def number(self) -> int:
        """The order's number."""
        return self.order.number


@dataclass(frozen=True, slots=True)
class Applied:
    """What is in force on this node: the generation, and the part as it came."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    generation: int
    manifest_sha256: str
    part: str

    def parsed(self) -> Part:
        """The part."""
        return parse(Part, self.part)


class Rejected(Exception):
    """A manifest, order or part that must not be followed, and why."""


def verified(operator: str, envelope: Signed) -> Known:
    """A manifest, once its signature is known to be the operator's."""
    try:
        return Known(envelope, signing.opened(operator, Purpose.MANIFEST, envelope, Manifest))
    except BadSignature:
        raise Rejected("manifest: not signed by our operator") from None
    except Malformed as error:
        raise Rejected(f"manifest: {error}") from None


def verified_order(operator: str, kind: Kind[T], envelope: Signed) -> Ordered[T]:
    """An order of a kind, once its signature is known to be the operator's."""
    try:
        return Ordered(kind, envelope, kind.opened(operator, envelope))
    except BadSignature:
        raise Rejected(f"{kind.name}: not signed by our operator") from None
    except Malformed as error:
        raise Rejected(f"{kind.name}: {error}") from None


def verified_part(known: Known, node: str, text: str) -> Part:
    """A node's part, once it is known to be the one that the manifest names for this node."""
    entry = known.manifest.nodes.get(node)
    if entry is None:
        raise Rejected(f"{node} is not in generation {known.number}")
    if sha256(text.encode()) != entry.part_sha256:
        raise Rejected("part: not the one that the manifest names")
    try:
        part = parse(Part, text)
    except Malformed as error:
        raise Rejected(f"part: {error}") from None
    if part.node != node:
        raise Rejected("part: belongs to another node")
    return part


class State:
    """The agent's memory on this host."""

    def __init__(self, host: Host, operator: str) -> None:
        self._host = host
        host.path(places.STATE).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.highest: Known | None = None
        self.applied: Applied | None = None
        self._orders: dict[str, Ordered[Any]] = {}
        envelope, applied = host.read(HIGHEST), host.read(APPLIED)
        # Read as if it came from outside: what a bad disk returns is not followed either.
        if envelope is not None:
            try:
                self.highest = verified(operator, parse(Signed, envelope))
            except (Rejected, Malformed):
                self.highest = None
        if applied is not None:
            try:
                self.applied = parse(Applied, applied)
            except Malformed:
                self.applied = None
        for kind in KINDS:
            kept = host.read(_place(kind))
            if kept is not None:
                with contextlib.suppress(Rejected, Malformed):
                    ordered = verified_order(operator, kind, parse(Signed, kept))
                    self._orders[kind.key] = ordered

    def accept(self, known: Known) -> bool:
        """Remembers a manifest above all earlier ones. False for the one that is known already;
        :class:`Rejected` for a lower one, or another of the same number."""
        top = self.highest
        if top is not None:
            if known.envelope.digest == top.envelope.digest:
                return False
            if known.number <= top.number:
                raise Rejected(f"generation {known.number}: not above {top.number}")
            if known.manifest.network != top.manifest.network:
                raise Rejected(f"manifest: of the network {known.manifest.network!r}, not ours")
        self._host.write(HIGHEST, dump(known.envelope), 0o600)
        self.highest = known
        return True

    def accept_order(self, ordered: Ordered[Any]) -> bool:
        """Remembers an order above all earlier ones of its kind. False for the one that is known
        already; :class:`Rejected` for a lower one, another of the same number, or another
        network's."""
        kind = ordered.kind
        if self.highest is not None and ordered.order.network != self.highest.manifest.network:
            raise Rejected(f"{kind.name}: of the network {ordered.order.network!r}, not ours")
        top = self._orders.get(kind.key)
        # One of another network came before we knew ours.
        if top is not None and top.order.network == ordered.order.network:
            if ordered.envelope.digest == top.envelope.digest:
                return False
            if ordered.number <= top.number:
                raise Rejected(f"{kind.name} {ordered.number}: not above {top.number}")
        self._host.write(_place(kind), dump(ordered.envelope), 0o600)
        self._orders[kind.key] = ordered
        return True

    def order(self, kind: Kind[T]) -> Ordered[T] | None:
        """The order of a kind that counts: None where the one that is kept came before our first
        generation, and is another network's."""
        kept = self._orders.get(kind.key)
        if kept is None or self.highest is None:
            return kept
        return kept if kept.order.network == self.highest.manifest.network else None

    def obeyed_order(self, kind: Kind[T]) -> T | None:
        """The order of a kind to follow: None where there is none of our network's yet."""
        ordered = self.order(kind)
        return None if ordered is None or self.highest is None else ordered.order

    def confirm(self, applied: Applied) -> None:
        """Remembers what is in force now."""
        self._host.write(APPLIED, dump(applied), 0o600)
        self.applied = applied


def _place(kind: Kind[Any]) -> str:
    return f"{places.STATE}/{kind.key}.json"
