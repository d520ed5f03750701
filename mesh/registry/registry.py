"""What a registry accepts and answers, apart from HTTP.

It trusts nobody: what it stores is signed by the operator or by a node, or comes from a planned
address and is the operator's to verify. A refusal changes nothing.

It serves one network. The operator names it with the planned nodes, in a request that the operator
signs for this registry; before that, and from an operator of an earlier version, it is the network
of the generation that the operator brought whole. A manifest alone is anybody's to bring, so it
never decides against those two.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any, Generic, TypeVar

from mesh.limits import MAX_CONTENT_BYTES
from mesh.registry.in_force import most_in_force
from mesh.registry.paths import CHUNK, MAX_ANSWER
from mesh.registry.store import Held, Store
from mesh.trust import signing
from mesh.trust.documents import (
    Generation,
    JoinRequest,
    Manifest,
    NodeView,
    PackedGeneration,
    PartOwner,
    Planned,
    RefusedJoin,
    Report,
    StatedIdentity,
    Views,
)
from mesh.trust.encoding import Malformed, dump, parse, sha256
from mesh.trust.orders import KINDS, Order
from mesh.trust.orders import OrderKind as OrderKind
from mesh.trust.requests import Kind
from mesh.trust.signing import BadSignature, Purpose, Signed

Address = IPv4Address | IPv6Address
T = TypeVar("T")
OrderT = TypeVar("OrderT", bound=Order)
_log = logging.getLogger("anycast-mesh.registry")
WORLD = {4: 8, 6: 16}
"""A network with a shorter prefix is nobody's own, but a good part of the Internet (and no admin's
to the firewall either)."""


class Refused(Exception):
    """A refused request: HTTP status, and a reason without secrets."""

    def __init__(self, status: int, reason: str, nodes: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.status, self.reason, self.nodes = status, reason, nodes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, after verification: ``operator``, ``node`` (a member), ``token`` or ``anyone``."""

    kind: Kind | None
    id: str
    address: Address


@dataclass(frozen=True, slots=True)
class Current:
    """The highest generation of this network at this registry."""

    held: Held
    manifest: Manifest
    manifest_sha256: str
    views: Views | None

    @property
    def network(self) -> str:
        """Whose generation it is."""
        return self.manifest.network


@dataclass(frozen=True)
class StoredOrder(Generic[OrderT]):
    """The highest order of a kind at this registry, with its envelope."""

    order: OrderT
    envelope: str


class Registry:
    """The registry's rules over its store."""

    def __init__(self, store: Store, operator: str, bundle: bytes | None = None) -> None:
        self.operator = operator
        self.store = store
        self._lock = threading.Lock()
        # Held from before the store changes until what is shown has followed. Else who is refused
        # for an order that is above his would be shown the one before it, and of two that come at
        # once the older one could be shown from then on.
        self._changing = threading.Lock()
        self._current: Current | None = None
        self._planned: Planned | None = None
        self._orders: dict[str, StoredOrder[Any]] = {}
        self._refused: dict[str, RefusedJoin] = {}
        self._addresses: frozenset[Address] = frozenset()
        self._admins: tuple[IPv4Network | IPv6Network, ...] = ()
        # All that the store holds are a few: who takes one holds no copy of its own.
        self._bundles: dict[str, bytes] = {}
        self._load()
        if bundle is not None and store.bundle(sha256(bundle)) is None:
            store.put_bundle(sha256(bundle), bundle)

    def _load(self) -> None:
        """Reads the store and verifies it again, since the disk is not trusted either. Invalid
        entries are dropped."""
        text = self.store.planned()
        planned = None if text is None else parse(Planned, text)
        current = self._read_current(None if planned is None else planned.network)
        network = _network(planned, current)
        read = ((kind.key, self._read_order(kind, network)) for kind in KINDS)
        orders: dict[str, StoredOrder[Any]] = {
            key: standing for key, standing in read if standing is not None
        }
        with self._lock:
            self._current = current
            self._planned = planned
            self._orders = orders
        places = self._places().values()
        self._addresses = frozenset(one for _, addresses in places for one in addresses)
        self._admins = () if current is None or current.views is None else _admins(current.views)

    def _read_current(self, pinned: str | None) -> Current | None:
        """The highest generation of this network; those of others are dropped. ``pinned`` is
        the network that the operator has named. Without it, a whole generation counts before a
        manifest that anybody may have brought."""
        read: list[Current] = []
        for held in self.store.generations():
            try:
                one = self._verified(held)
            except (Malformed, BadSignature) as error:
                _log.warning("generation %d is forgotten: %s", held.number, error)
                self.store.forget(held.number)
                continue
            if not read and held.complete and pinned in (None, one.network):
                return one  # nearly always the first
            read.append(one)
        if pinned is None and read:
            pinned = max(read, key=lambda one: (one.held.complete, one.held.number)).network
        for other in (one for one in read if one.network != pinned):
            number = other.held.number
            _log.warning("generation %d is forgotten: of the network %s", number, other.network)
            self.store.forget(number)
        return next((one for one in read if one.network == pinned), None)

    def _read_order(
        self, kind: OrderKind[OrderT], network: str | None
    ) -> StoredOrder[OrderT] | None:
        text = self.store.order(kind.key)
        if text is None:
            return None
        try:
            order = kind.opened(self.operator, parse(Signed, text))
        except (Malformed, BadSignature) as error:
            _log.warning("the %s is forgotten: %s", kind.name, error)
            self.store.forget_order(kind.key)
            return None
        if network is not None and order.network != network:
            # It came before we knew which network is ours.
            _log.warning("the %s is forgotten: of the network %s", kind.name, order.network)
            self.store.forget_order(kind.key)
            return None
        return StoredOrder(order, text)

    def _verified(self, held: Held) -> Current:
        envelope = parse(Signed, held.envelope)
        manifest = signing.opened(self.operator, Purpose.MANIFEST, envelope, Manifest)
        views = None if held.views is None else parse(Views, held.views)
        return Current(held, manifest, envelope.digest, views)

    def current(self) -> Current | None:
        """The highest generation."""
        with self._lock:
            return self._current

    def planned(self) -> Planned | None:
        """The planned nodes, where the operator has sent them."""
        with self._lock:
            return self._planned

    @property
    def network(self) -> str | None:
        """The network that this registry serves, as far as it is known here."""
        with self._lock:
            return _network(self._planned, self._current)

    def addresses(self) -> frozenset[Address]:
        """The addresses of all planned nodes."""
        return self._addresses

    def admins(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks from which the operator logs in, unless that is everywhere."""
        return self._admins

    def standing(self, kind: OrderKind[OrderT]) -> StoredOrder[OrderT] | None:
        """The highest order of a kind, where there is one."""
        with self._lock:
            return self._orders.get(kind.key)

    def key(self, kind: Kind, name: str) -> str | None:
        """The public key of a claimed caller."""
        if kind == "operator":
            return self.operator if name == "" else None
        if kind == "node":
            current = self.current()
            entry = None if current is None else current.manifest.nodes.get(name)
            return None if entry is None else entry.identity
        planned = self.planned()
        node = None if planned is None else planned.nodes.get(name)
        return None if node is None else node.proof

    # --- what comes in -----------------------------------------------------------------------

    def accept_generation(self, body: bytes) -> int:
        """A whole generation of an operator of an earlier version (:meth:`accept_packed`)."""
        return self._accept(_parsed(Generation, body))

    def accept_packed(self, body: bytes) -> int:
        """A whole generation of the operator's: signed, complete, and above what is held. Its
        number."""
        return self._accept(_parsed(PackedGeneration, body))

    def _accept(self, generation: Generation | PackedGeneration) -> int:
        manifest = self._manifest(generation.manifest)
        current = self.current()
        if self._pinned is not None or (current is not None and current.held.complete):
            self._mind_network("manifest", manifest.network)
        if set(generation.parts) != set(manifest.nodes):
            raise Refused(400, "parts and manifest name different nodes")
        for node in generation.parts:
            text = _part(generation, node)
            if sha256(text.encode()) != manifest.nodes[node].part_sha256:
                raise Refused(400, f"part of {node}: not the one that the manifest names")
            if _parsed(PartOwner, text).node != node:
                raise Refused(400, f"part of {node}: belongs to another node")
        if sha256(generation.views.encode()) != manifest.views_sha256:
            raise Refused(400, "views: not those that the manifest names")
        _parsed(Views, generation.views)
        envelope = _text(generation.manifest)
        with self._changing:
            if not self.store.put_generation(
                manifest.generation, envelope, generation, self._in_force()
            ):
                raise Refused(409, f"generation {manifest.generation} is not above what is held")
            self._load()
            self.store.keep_contents(self._named_contents())
        return manifest.generation

    def _in_force(self) -> int:
        """The generation that most nodes report to have in force, 0 without reports."""
        found: list[Report] = []
        for text in self.store.reports():
            # One of an earlier version's, which is not replaced yet.
            with suppress(Malformed):
                found.append(parse(Report, parse(Signed, text).payload))
        return most_in_force(found)

    def accept_manifest(self, body: bytes) -> bool:
        """A manifest that a node brings back, after this registry has lost its memory. True
        where it is higher than all that is known here."""
        envelope, current = _parsed(Signed, body), self.current()
        if current is not None and current.manifest_sha256 == envelope.digest:
            return False  # sent again by anybody: it is not read again
        manifest = self._manifest(envelope)
        self._mind_network("manifest", manifest.network)
        if current is not None and current.manifest.generation >= manifest.generation:
            return False
        with self._changing:
            fresh = self.store.put_manifest(manifest.generation, _text(envelope), self._in_force())
            if fresh:
                self._load()
        return fresh

    def accept_order(self, kind: OrderKind[OrderT], body: bytes) -> bool:
        """An order, from the operator or from a node that brings it back. True where it is
        higher than the one that is known here; refused where it is not, unless it is that one."""
        envelope, held = _parsed(Signed, body), self.standing(kind)
        if held is not None and held.envelope == _text(envelope):
            return False  # sent again by anybody: it is not read again
        order = self._opened(kind.purpose, envelope, kind.document, kind.name)
        self._mind_network(kind.name, order.network)
        with self._changing:
            held = self.standing(kind)
            if not self.store.put_order(kind.key, order.number, _text(envelope)):
                raise Refused(409, f"{kind.name} {order.number} is not above what is held")
            self._load()
        return held is None or held.order.number < order.number

    def accept_planned(self, body: bytes) -> None:
        """The operator's list of planned nodes, and the name of their network. The first name
        stays: another one is refused."""
        planned, pinned = _parsed(Planned, body), self._pinned
        if pinned is not None:
            self._mind_network("planned nodes", planned.network or pinned)
            planned = replace(planned, network=pinned)
        with self._changing:
            self.store.put_planned(dump(planned).decode("ascii"), planned.nodes)
            self._load()

    def accept_join(self, caller: Caller, body: bytes) -> None:
        """A join request, kept for the operator to verify; from the node's own address only."""
        planned = self.planned()
        if planned is None:
            raise Refused(503, "no plan is known yet; try again")
        request = _parsed(JoinRequest, body)
        node = planned.nodes.get(request.node)
        if node is None or caller.address not in node.addresses:
            raise Refused(403, "not a planned node at this address")
        identity = _parsed(StatedIdentity, request.facts).identity
        self.store.put_join(request.node, identity, body.decode())
        with self._lock:
            self._refused.pop(request.node, None)

    def note_refused_join(self, caller: Caller, body: bytes) -> None:
        """A request to join from an address that is not the node's. It makes nobody a member: the
        operator is shown where it came from. Who sends it has the node's token, and the last one
        of each node is kept until it joins or this process ends."""
        request = _parsed(JoinRequest, body)
        if (caller.kind, caller.id) != ("token", request.node):
            raise Refused(403, "only a node with its token, and of itself")
        with self._lock:
            self._refused[request.node] = RefusedJoin(caller.address, request)

    def refused_joins(self) -> list[RefusedJoin]:
        """The last refused request of each planned node that has not joined since."""
        with self._lock:
            planned = {} if self._planned is None else self._planned.nodes
            return [one for node, one in sorted(self._refused.items()) if node in planned]

    def accept_report(self, caller: Caller, body: bytes) -> str | None:
        """A member's report, signed by that member. None where it is held now, else the later one
        of the same member that is."""
        key = self.key("node", caller.id)
        if caller.kind != "node" or key is None:
            raise Refused(403, "only a member reports")
        envelope = _parsed(Signed, body)
        try:
            report = signing.opened(key, Purpose.REPORT, envelope, Report)
        except (BadSignature, Malformed):
            raise Refused(400, "report: not signed by who sends it, or malformed") from None
        if report.node != caller.id:
            raise Refused(400, "report: is of another node")

        def counts(text: str) -> bool:
            """Whether a report is of the same identity. One from before the node was made anew
            may have any number: whoever held it then chose it."""
            try:
                signing.opened(key, Purpose.REPORT, parse(Signed, text), Report)
            except (BadSignature, Malformed):
                return False
            return True

        return self.store.put_report(report.node, report.sequence, _text(envelope), counts)

    def accept_bundle(self, caller: Caller, digest: str | None, body: bytes) -> str:
        """A bundle of the operator's."""
        if caller.kind != "operator":
            raise Refused(403, "only the operator brings a bundle")
        actual = sha256(body)
        if digest is not None and digest != actual:
            raise Refused(400, "the bundle has another hash than its name")
        self.store.put_bundle(actual, body)
        self._bundles.clear()
        return actual

    def accept_chunk(self, digest: str, place: int, body: bytes) -> None:
        """The next chunk of a content, from the operator. It counts once all are there
        (:meth:`accept_content`)."""
        if not 0 < len(body) <= CHUNK or place >= MAX_CONTENT_BYTES // CHUNK:
            raise Refused(400, f"content: at most {MAX_CONTENT_BYTES} bytes in chunks of {CHUNK}")
        if digest not in self.store.contents() and not self.store.put_chunk(digest, place, body):
            raise Refused(409, f"content: the chunks before {place} are not here")

    def accept_content(self, digest: str) -> None:
        """All chunks of a content are here; they are forgotten where they have another hash."""
        if digest in self.store.contents():
            return
        held, seen = self.store.held_chunks(digest), hashlib.sha256()
        for place in range(held):
            chunk = self.store.chunk(digest, place) or b""
            seen.update(chunk)
            if len(chunk) != CHUNK and place + 1 < held:
                seen.update(b"a chunk that is no whole one, before the last")
        if seen.hexdigest() != digest:
            self.store.forget_content(digest)
            raise Refused(400, "the content has another hash than its name")
        self.store.complete_content(digest)

    def lacking(self) -> tuple[str, ...]:
        """The contents of the current generation that are not here, by their hashes."""
        current = self.current()
        named = {} if current is None else current.manifest.contents
        return tuple(sorted(set(named) - self.store.contents())) if named else ()

    def _named_contents(self) -> frozenset[str]:
        """The contents of all generations that are held."""
        named: set[str] = set()
        for held in self.store.generations():
            named |= set(self._verified(held).manifest.contents)
        return frozenset(named)

    # --- what goes out -----------------------------------------------------------------------

    def check_part(self, caller: Caller, node: str) -> None:
        """A node's part is for that node and the operator."""
        if caller.kind == "node" and caller.id != node:
            raise Refused(403, "a node asks for its own part")

    def part(self, node: str) -> str:
        """A node's part of the current generation."""
        current = self.current()
        text = None if current is None else self.store.part(current.manifest.generation, node)
        if text is None:
            raise Refused(404, "no such part in the current generation")
        return text

    def packed(self, number: int) -> PackedGeneration:
        """A whole generation that is held, the current one or one before it."""
        generation = self.store.generation(number)
        if generation is None:
            raise Refused(404, f"generation {number} is not held here whole")
        return generation

    def held_bundle(self, digest: str) -> bytes | None:
        """A bundle by its hash, where somebody has asked for it before."""
        return self._bundles.get(digest)

    def bundle(self, digest: str) -> bytes | None:
        """A bundle by its hash."""
        content = self.store.bundle(digest)
        if content is not None:
            self._bundles[digest] = content
        return content

    def content(self, digest: str) -> tuple[int, bool]:
        """How many chunks of a content are here, and whether these are all."""
        held = self.store.held_chunks(digest)
        if not held:
            raise Refused(404, "no such content")
        return held, digest in self.store.contents()

    def chunk(self, digest: str, place: int) -> bytes:
        """A chunk of a content that is here whole."""
        content = self.store.chunk(digest, place) if digest in self.store.contents() else None
        if content is None:
            raise Refused(404, "no such content")
        return content

    def views(self) -> Views:
        """The views of the current generation."""
        current = self.current()
        if current is None or current.views is None:
            raise Refused(503, "no generation is held here yet")
        return current.views

    def node(self, name: str) -> tuple[str, NodeView]:
        """A node by its id, or by its region where that has one node only."""
        nodes = self.views().nodes
        if name in nodes:
            return name, nodes[name]
        there = tuple(sorted(one for one, view in nodes.items() if view.region == name))
        if len(there) == 1:
            return there[0], nodes[there[0]]
        if there:
            raise Refused(409, f"{name} has several nodes; name one of them", there)
        raise Refused(404, f"{name} is neither a node nor a region of this network")

    def discover(self, caller: Caller, asked: Address | None) -> tuple[str, str, list[str]]:
        """Which node has this address: id, region and planned addresses. Who has only a token
        asks for itself."""
        address = caller.address if asked is None or caller.kind == "token" else asked
        for name, (region, addresses) in self._places().items():
            if address in addresses and (caller.kind != "token" or caller.id == name):
                return name, region, [str(one) for one in addresses]
        raise Refused(404, f"{address} is the address of no node of this network")

    def _places(self) -> dict[str, tuple[str, tuple[Address, ...]]]:
        planned, current = self.planned(), self.current()
        places: dict[str, tuple[str, tuple[Address, ...]]] = {}
        if current is not None and current.views is not None:
            places |= {n: (v.region, v.addresses) for n, v in current.views.nodes.items()}
        if planned is not None:
            places |= {n: (p.region, p.addresses) for n, p in planned.nodes.items()}
        return places

    @property
    def _pinned(self) -> str | None:
        planned = self.planned()
        return None if planned is None else planned.network

    def _mind_network(self, what: str, network: str) -> None:
        """Refuses documents of another network with the same operator key."""
        ours = self.network
        if ours is not None and network != ours:
            raise Refused(403, f"{what}: of the network {network}; this registry serves {ours}")

    def _manifest(self, envelope: Signed) -> Manifest:
        return self._opened(Purpose.MANIFEST, envelope, Manifest, "manifest")

    def _opened(self, purpose: Purpose, envelope: Signed, kind: type[T], name: str) -> T:
        try:
            return signing.opened(self.operator, purpose, envelope, kind)
        except BadSignature:
            raise Refused(403, f"{name}: not signed by this network's operator") from None
        except Malformed as error:
            raise Refused(400, str(error)) from None


def _network(planned: Planned | None, current: Current | None) -> str | None:
    if planned is not None and planned.network is not None:
        return planned.network
    return None if current is None else current.network


def _admins(views: Views) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        found = tuple(map(ip_network, views.firewall["sources"]["admin"]))
    except (KeyError, TypeError, ValueError):
        return ()
    return found if all(one.prefixlen >= WORLD[one.version] for one in found) else ()


def _part(generation: Generation | PackedGeneration, node: str) -> str:
    if isinstance(generation, Generation):
        return generation.parts[node]
    places, texts = generation.parts[node], generation.texts
    if any(place >= len(texts) for place in places):
        raise Refused(400, f"part of {node}: names a text that is not there")
    if sum(len(texts[place]) for place in places) > MAX_ANSWER:
        raise Refused(400, f"part of {node}: larger than {MAX_ANSWER} bytes")
    return generation.part(node)


def _parsed(kind: type[T], body: bytes | str) -> T:
    try:
        return parse(kind, body)
    except Malformed as error:
        raise Refused(400, str(error)) from None


def _text(envelope: Signed) -> str:
    return dump(envelope).decode("ascii")


def parsed_address(text: str) -> Address:
    """An address as a socket gives it; an IPv4-mapped IPv6 address is the IPv4 one."""
    address = ip_address(text.split("%", 1)[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
