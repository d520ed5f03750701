"""The agent's state on disk: the highest manifest and orders received, and what is in force.

Lower numbers are refused, also after a reboot. If the disk cannot be written, the state counts in
memory and is written later; an agent that ends before loses it. The node's network is that of the
first manifest that names the node's own key: one operator key may sign for several networks, and
anybody may send a manifest of another one.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict

from mesh.agent import disk, file_paths, log
from mesh.agent.host import Host
from mesh.trust import signing
from mesh.trust.documents import Manifest, Part, RolloutOrder
from mesh.trust.encoding import Malformed, canonical, dump, parse, sha256
from mesh.trust.orders import KINDS, ROLLOUT, Order, OrderKind
from mesh.trust.signing import BadSignature, Purpose, Signed

HIGHEST = f"{file_paths.STATE}/highest.json"
APPLIED = f"{file_paths.STATE}/applied.json"
T = TypeVar("T", bound=Order)


@dataclass(frozen=True, slots=True)
class HighestManifest:
    """A verified manifest, and its envelope."""

    envelope: Signed
    manifest: Manifest

    @property
    def number(self) -> int:
        """The generation's number."""
        return self.manifest.generation


@dataclass(frozen=True)
class Ordered(Generic[T]):
    """A verified order, its kind, and its envelope."""

    kind: OrderKind[T]
    envelope: Signed
    order: T

    @property
    def number(self) -> int:
        """The order's number."""
        return self.order.number


@dataclass(frozen=True, slots=True)
class Applied:
    """What is in force on this node: the generation, and the part as received. ``sealed_in`` is the
    generation that its secrets are sealed for, None for this one."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")
    generation: int
    manifest_sha256: str
    part: str
    sealed_in: int | None = None

    @staticmethod
    def of(known: HighestManifest, node: str, text: str) -> Applied:
        """A node's part of a generation, as it is stored once it is in force."""
        entry = known.manifest.nodes[node]
        return Applied(known.number, known.envelope.digest, text, entry.sealed_in)

    def parsed(self) -> Part:
        """The part."""
        return parse(Part, self.part)

    def encoded(self) -> bytes:
        """As it is stored: an earlier version reads it too, and refuses a key that it does not
        know."""
        return canonical({key: value for key, value in asdict(self).items() if value is not None})


class Rejected(Exception):
    """A manifest, order or part that must not be followed, with the reason."""


class Forged(Rejected):
    """One that our operator has not signed. It is not reported."""


def verified(operator: str, envelope: Signed) -> HighestManifest:
    """The manifest of an envelope with the operator's signature. Raises :class:`Rejected`."""
    try:
        return HighestManifest(
            envelope, signing.opened(operator, Purpose.MANIFEST, envelope, Manifest)
        )
    except BadSignature:
        raise Forged("manifest: not signed by our operator") from None
    except Malformed as error:
        raise Rejected(f"manifest: {error}") from None


def verified_order(operator: str, kind: OrderKind[T], envelope: Signed) -> Ordered[T]:
    """The order of an envelope with the operator's signature. Raises :class:`Rejected`."""
    try:
        return Ordered(kind, envelope, kind.opened(operator, envelope))
    except BadSignature:
        raise Forged(f"{kind.name}: not signed by our operator") from None
    except Malformed as error:
        raise Rejected(f"{kind.name}: {error}") from None


def stated_number(envelope: Signed) -> int:
    """The number in an unverified envelope, for messages: 0 if there is none."""
    try:
        document = json.loads(envelope.payload)
    except (ValueError, RecursionError):
        return 0
    found = document if isinstance(document, dict) else {}
    number = found.get("generation", found.get("number"))
    return number if type(number) is int and 0 < number < 2**53 else 0


def verified_part(known: HighestManifest, node: str, text: str) -> Part:
    """A node's part, if its hash is that in the manifest. Raises :class:`Rejected`."""
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
    """The agent's state on this host. ``names_us`` returns whether a manifest names this node with
    its own key; ``highest`` is None before the first such manifest."""

    def __init__(self, host: Host, operator: str, names_us: Callable[[Manifest], bool]) -> None:
        self._host, self._names_us = host, names_us
        host.path(file_paths.STATE).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.highest: HighestManifest | None = None
        self.applied: Applied | None = None
        self._saving = threading.Lock()
        self._unsaved: dict[str, bytes] = {}
        self._why_unsaved: dict[str, str] = {}
        self._orders: dict[str, Ordered[Any]] = {}
        envelope = host.read(HIGHEST)
        self.read_applied()
        if envelope is not None:
            # Verified as if received: the disk may be damaged.
            with contextlib.suppress(Rejected, Malformed):
                known = verified(operator, parse(Signed, envelope))
                # Earlier versions stored any manifest; one that never named us does not count.
                if self.applied is not None or names_us(known.manifest):
                    self.highest = known
        for kind in KINDS:
            kept = host.read(_place(kind))
            if kept is not None:
                with contextlib.suppress(Rejected, Malformed):
                    ordered = verified_order(operator, kind, parse(Signed, kept))
                    self._orders[kind.key] = ordered

    @property
    def is_member(self) -> bool:
        """Whether the highest manifest names this node with its own key."""
        return self.highest is not None and self._names_us(self.highest.manifest)

    @property
    def is_left_out(self) -> bool:
        """Whether there is a highest manifest, and it does not name this node with its own key."""
        return self.highest is not None and not self.is_member

    def read_applied(self) -> None:
        """Reads what is in force from the disk, which the undo timer may have written. A damaged
        file is ignored."""
        applied = self._host.read(APPLIED)
        if applied is not None and APPLIED not in self._unsaved:
            with contextlib.suppress(Malformed):
                self.applied = parse(Applied, applied)

    def accept(self, known: HighestManifest) -> bool:
        """Stores a manifest above all earlier ones. False for the known one, and for one that does
        not name us before the first that does. Raises :class:`Rejected` for a lower one, another of
        the same number, or another network's."""
        top, network = self.highest, known.manifest.network
        if top is None and not self._names_us(known.manifest):
            return False
        if top is not None:
            if known.envelope.digest == top.envelope.digest:
                return False
            if network != top.manifest.network:
                raise Rejected(_foreign(network, top.manifest.network))
            if known.number <= top.number:
                raise Rejected(f"not above generation {top.number}, which this node holds")
        self.highest = known
        self._keep(HIGHEST, dump(known.envelope))
        return True

    def accept_order(self, ordered: Ordered[Any]) -> bool:
        """Stores an order above all earlier ones of its kind. False for the known one. Raises
        :class:`Rejected` for a lower one, another of the same number, or another network's."""
        kind, network = ordered.kind, ordered.order.network
        if self.highest is not None and network != self.highest.manifest.network:
            raise Rejected(_foreign(network, self.highest.manifest.network))
        top = self._orders.get(kind.key)
        # The stored one may be of another network, received before our first manifest.
        if top is not None and top.order.network == ordered.order.network:
            if ordered.envelope.digest == top.envelope.digest:
                return False
            if ordered.number <= top.number:
                raise Rejected(f"not above {kind.name} {top.number}, which this node holds")
        self._orders[kind.key] = ordered
        self._keep(_place(kind), dump(ordered.envelope))
        return True

    def order(self, kind: OrderKind[T]) -> Ordered[T] | None:
        """The stored order of a kind; None if it is another network's, received before our first
        manifest."""
        kept = self._orders.get(kind.key)
        if kept is None or self.highest is None:
            return kept
        return kept if kept.order.network == self.highest.manifest.network else None

    def obeyed_order(self, kind: OrderKind[T]) -> T | None:
        """The order of a kind to apply; None before our first manifest, or without one."""
        ordered = self.order(kind)
        return None if ordered is None or self.highest is None else ordered.order

    def rollout_of(self, known: HighestManifest) -> RolloutOrder | None:
        """The rollout order about a manifest; None if the stored one is about another."""
        order = self.obeyed_order(ROLLOUT)
        about = (known.number, known.envelope.digest)
        if order is None or (order.generation, order.manifest_sha256) != about:
            return None
        return order

    def has_applied(self, known: HighestManifest) -> bool:
        """Whether this manifest is what is in force now."""
        return self.applied is not None and self.applied.manifest_sha256 == known.envelope.digest

    def confirm(self, applied: Applied) -> None:
        """Stores what is in force now."""
        self.applied = applied
        self._keep(APPLIED, applied.encoded())

    @property
    def unsaved(self) -> dict[str, str]:
        """Why something is not on the disk yet, by the name of the fault (:mod:`disk`); empty if
        all is."""
        with self._saving:
            return self._why_unsaved

    def save(self) -> None:
        """Writes what could not be written before."""
        with self._saving:
            self._save()

    def _keep(self, path: str, content: bytes) -> None:
        with self._saving:
            self._unsaved[path] = content
            self._save()

    def _save(self) -> None:
        for path, content in list(self._unsaved.items()):
            try:
                self._host.write(path, content, 0o600)
            except OSError as error:
                reason = f"{path} cannot be written: {error.strerror or error}"
                why = {disk.fault(error): reason}
                if why != self._why_unsaved:
                    log.warning("state", reason=reason)
                self._why_unsaved = why
                return
            del self._unsaved[path]
        self._why_unsaved = {}


def _foreign(theirs: str, ours: str) -> str:
    return f"of the network {theirs}, and this node is of {ours}"


def _place(kind: OrderKind[Any]) -> str:
    return f"{file_paths.STATE}/{kind.key}.json"
