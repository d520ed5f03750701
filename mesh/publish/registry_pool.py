"""The operator's connections to all registries of a network, one each."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import cycle
from typing import Any, TypeVar

from mesh.foreign import printable
from mesh.publish.order import PublishError
from mesh.registry import paths
from mesh.registry.client import MAX_TEXT, Answer, Client, Unreachable
from mesh.trust import signing
from mesh.trust.documents import (
    Generation,
    JoinRequest,
    Manifest,
    PackedGeneration,
    Planned,
    RefusedJoin,
    Repairs,
    Report,
)
from mesh.trust.encoding import Malformed, dump, parse, sha256
from mesh.trust.keys import signing_public
from mesh.trust.orders import Order, OrderKind
from mesh.trust.requests import Signer
from mesh.trust.signing import BadSignature, Purpose, Signed

T = TypeVar("T")
OrderT = TypeVar("OrderT", bound=Order)

CONNECT_SECONDS = 1.5
HURRIED = (CONNECT_SECONDS, *11 * (0.3,))
"""Timeouts in turn for connecting to a registry that is not ready. The firewall of a booting
machine drops packets, so short attempts are repeated. The first one is long: a publication that
waits for no node makes no other."""
WORK_SECONDS = 20.0


class RegistryPool:
    """The registries of a network, for its operator."""

    def __init__(self, operator_key: str, registries: Mapping[str, str]) -> None:
        self._public = signing_public(operator_key)
        signer = Signer("operator", "", operator_key)
        self._clients = {
            node: Client(url, signer, timeout=CONNECT_SECONDS)
            for node, url in sorted(registries.items())
        }
        self._hurry = {node: cycle(HURRIED) for node in self._clients}
        self.ready: set[str] = set()
        """Registries that have the bundle and the list of planned nodes."""
        self.reasons: dict[str, str] = {}
        """Why a registry is not ready: its answer or the connection's error."""
        self.ahead: dict[str, float] = {}
        """Seconds by which our clock is ahead of a registry's that has answered, by its URL."""
        self.refusing: set[str] = set()
        """Registries that refuse this network, since they serve another one."""
        self._opened: dict[str, tuple[str, Report]] = {}
        """The reports of the last look with their nodes' keys, by text: most of a thousand are the
        same at the next."""

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients.values():
            client.close()

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def clients(self) -> Mapping[str, Client]:
        """The connections by the ids of the registries' nodes."""
        return self._clients

    def prepare(self, bundle: bytes, planned: Planned) -> None:
        """Sends bundle and planned nodes to the registries that do not have them yet."""
        for node, client in self._clients.items():
            if node in self.ready:
                continue
            self.refusing.discard(node)
            client.connect_seconds = next(self._hurry[node])
            try:
                refusal = _prepared(client, bundle, planned)
            except Unreachable as error:
                refusal = str(error)
            except _AnotherNetwork as error:
                refusal = str(error)
                self.refusing.add(node)
            client.connect_seconds = CONNECT_SECONDS
            if refusal is None:
                self.ready.add(node)
                self.reasons.pop(node, None)
            else:
                self.reasons[node] = refusal

    def joins(self) -> list[JoinRequest]:
        """The join requests at all registries; malformed ones are left out."""
        return self._all(paths.JOINS, JoinRequest)

    def refused_joins(self) -> list[RefusedJoin]:
        """The join requests that registries have refused because of their source address; malformed
        ones are left out, and registries of earlier versions have none."""
        return self._all(paths.REFUSED_JOINS, RefusedJoin)

    def _all(self, target: str, kind: type[T]) -> list[T]:
        found: list[T] = []
        for _, answer in self._ask("GET", target):
            for text in _entries(answer):
                with contextlib.suppress(Malformed):
                    found.append(parse(kind, text))
        return found

    def manifests(self) -> dict[str, tuple[Signed, Manifest]]:
        """The manifest at each registry, with its signature verified. It may be of another network
        with the same key."""
        found: dict[str, tuple[Signed, Manifest]] = {}
        for node, answer in self._ask("GET", paths.MANIFEST, signed=False):
            if answer.status == 200:
                with contextlib.suppress(Malformed, BadSignature):
                    envelope = parse(Signed, answer.body)
                    manifest = signing.opened(self._public, Purpose.MANIFEST, envelope, Manifest)
                    found[node] = (envelope, manifest)
        return found

    def highest(self, network: str | None = None) -> tuple[Signed, Manifest] | None:
        """The manifest with the highest number at any registry: of that network, or of any where
        none is given."""
        return top(self.manifests().values(), network)

    def generation(self, number: int) -> PackedGeneration | None:
        """The generation with that number, from the first registry that has it whole: signed by the
        operator, and with the parts of its manifest. None if none has it.

        Registries of earlier versions give the parts of their highest generation only, and no
        views: these are empty then.
        """
        for _, answer in self._ask("GET", paths.packed(number)):
            with contextlib.suppress(Malformed, BadSignature):
                if answer.ok:
                    return self._whole(parse(PackedGeneration, answer.body), number)
        for node, (envelope, manifest) in self.manifests().items():
            if manifest.generation == number:
                with contextlib.suppress(Malformed, BadSignature, Unreachable):
                    made = _gathered(self._clients[node], envelope, manifest)
                    return self._whole(made, number)
        return None

    def _whole(self, generation: PackedGeneration, number: int) -> PackedGeneration:
        """The same. Raises :class:`Malformed` or :class:`BadSignature` if it is not what the
        operator has signed under that number."""
        manifest = signing.opened(self._public, Purpose.MANIFEST, generation.manifest, Manifest)
        if manifest.generation != number or generation.parts.keys() != manifest.nodes.keys():
            raise Malformed("another generation, or not all parts of it")
        if generation.views and sha256(generation.views.encode()) != manifest.views_sha256:
            raise Malformed("other views than those of its manifest")
        for node, entry in manifest.nodes.items():
            if sha256(_part(generation, node).encode()) != entry.part_sha256:
                raise Malformed("another part than that of its manifest")
        return _only_used(generation)

    def holds_another(self, manifest: Manifest, digest: str) -> bool:
        """Whether a registry holds another manifest of that network, with its number or above.
        ``digest`` is that of ``manifest``."""
        return any(
            held.network == manifest.network
            and held.generation >= manifest.generation
            and envelope.digest != digest
            for envelope, held in self.manifests().values()
        )

    def put_generation(self, generation: PackedGeneration) -> list[str]:
        """Sends a generation to every reachable registry; returns why others do not have it."""
        body = _fitting(generation, "leave nodes out, or make two networks of them")
        asked = list(self._each(lambda client: _sent(client, generation, body)))
        failures = [f"{node}: {answer.why()}" for node, answer in asked if not answer.ok]
        if len(failures) == len(asked):
            raise Unreachable("; ".join(failures + sorted(self.reasons.values())) or "no registry")
        return failures

    def put_manifest(self, envelope: Signed) -> bool:
        """Sends a manifest alone; returns whether a registry has it now."""
        asked = list(self._ask("PUT", paths.MANIFEST, dump(envelope), signed=False))
        return any(answer.ok for _, answer in asked)

    def order(self, kind: OrderKind[OrderT], network: str) -> OrderT | None:
        """The network's order of a kind with the highest number at any registry."""
        return highest(self.orders(kind, network).values())

    def orders(self, kind: OrderKind[OrderT], network: str) -> dict[str, OrderT | None]:
        """The network's order of a kind at each registry that answers, with its signature verified;
        None where it has none."""
        asked = self._ask("GET", paths.order(kind.key), signed=kind.members_only)
        return {node: self._order(kind, answer, network) for node, answer in asked}

    def put_order(self, kind: OrderKind[OrderT], order: OrderT, operator_key: str) -> bool:
        """Signs an order and sends it to every reachable registry. False where one holds another
        order with that number or above; raises :class:`Unreachable` where none takes it.

        A registry that refuses an order has to present the one that it holds: otherwise it could
        block every order.
        """
        body, place = dump(kind.signed(operator_key, order)), paths.order(kind.key)
        taken, crossed = 0, False
        refusals: list[str] = []
        for node, client in self._clients.items():
            try:
                answer = client.ask("PUT", place, body, timeout=WORK_SECONDS)
                shown = None
                if answer.status == 409:
                    signed = kind.members_only
                    held = client.ask("GET", place, signed=signed, timeout=WORK_SECONDS)
                    shown = self._order(kind, held, order.network)
            except Unreachable as error:
                self.reasons[node] = str(error)
                continue
            if answer.ok or shown == order:
                taken += 1
            elif shown is not None and shown.number >= order.number:
                crossed = True
            else:
                refusals.append(f"{node}: {answer.why()}")
        if not taken and not crossed:
            raise Unreachable("; ".join(refusals + sorted(self.reasons.values())) or "no registry")
        return not crossed

    def _order(self, kind: OrderKind[OrderT], answer: Answer, network: str) -> OrderT | None:
        if answer.status == 200:
            with contextlib.suppress(Malformed, BadSignature):
                order = kind.opened(self._public, parse(Signed, answer.body))
                return order if order.network == network else None
        return None

    def reports(self, identities: Mapping[str, str]) -> list[Report]:
        """The reports with a valid signature of their node, without control characters."""
        return [report for _, report in self.reports_held(identities)]

    def reports_held(self, identities: Mapping[str, str]) -> list[tuple[str, Report]]:
        """The same, each with the registry that holds it."""
        before, self._opened = self._opened, {}
        found: list[tuple[str, Report]] = []
        for registry, answer in self._ask("GET", paths.REPORTS):
            for text in _entries(answer):
                one = before.get(text) or self._opened.get(text) or _opened(text, identities)
                if one is not None and identities.get(one[1].node) == one[0]:
                    self._opened[text] = one
                    found.append((registry, one[1]))
        return found

    def holders(self, digest: str) -> tuple[int, int]:
        """How many registries answer, and how many of these hold that manifest with all parts."""
        answered = held = 0
        for _, status in self._statuses():
            answered += 1
            held += bool(status.get("complete") and status.get("manifest_sha256") == digest)
        return answered, held

    def full(self) -> dict[str, str]:
        """The registries that could not store what came last, and why; those of earlier versions
        do not say it."""
        found: dict[str, str] = {}
        for node, status in self._statuses():
            reason = status.get("refuses")
            if isinstance(reason, str) and reason:
                text = printable(reason[:MAX_TEXT])
                found[node] = f"takes no writes: {text}; {paths.MAKE_ROOM}"
        return found

    def _statuses(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What each registry that answers says of itself; nothing where it cannot be read."""
        for node, answer in self._ask("GET", f"{paths.API}/status"):
            try:
                yield node, decoded(dict, answer.body)
            except Malformed:
                yield node, {}

    def certificates(self) -> dict[str, str | None]:
        """SHA-256 of the certificate that each registry presented last, by URL."""
        return {client.url: client.tls_sha256 for client in self._clients.values()}

    def _ask(
        self, method: str, target: str, body: bytes = b"", *, signed: bool = True
    ) -> Iterator[tuple[str, Answer]]:
        return self._each(
            lambda client: client.ask(method, target, body, signed=signed, timeout=WORK_SECONDS)
        )

    def _each(self, ask: Callable[[Client], Answer]) -> Iterator[tuple[str, Answer]]:
        """The answer of each reachable registry."""
        for node, client in self._clients.items():
            try:
                answer = ask(client)
            except Unreachable as error:
                self.reasons[node] = str(error)
                continue
            if client.ahead is not None:
                self.ahead[client.url] = client.ahead
            yield node, answer


def _opened(text: str, identities: Mapping[str, str]) -> tuple[str, Report] | None:
    """A report and the key that has signed it; None if it is not its node's."""
    with contextlib.suppress(Malformed, BadSignature):
        envelope = parse(Signed, text)
        node = decoded(dict, envelope.payload).get("node")
        key = identities.get(node) if isinstance(node, str) else None
        if key is not None:
            report = signing.opened(key, Purpose.REPORT, envelope, Report)
            if report.node == node:
                return key, _made_printable(report)
    return None


def _part(generation: PackedGeneration, node: str) -> str:
    """A node's part. Raises :class:`Malformed` for one of texts that are not there, or that would
    fill the memory: a registry may name a long text any number of times."""
    try:
        if sum(len(generation.texts[at]) for at in generation.parts[node]) > paths.MAX_ANSWER:
            raise Malformed("a part that is too large")
    except IndexError:
        raise Malformed("a part of texts that are not there") from None
    return generation.part(node)


def _only_used(generation: PackedGeneration) -> PackedGeneration:
    """The same without texts that are in no part: nobody has signed them, and they would be
    published with its content."""
    used = sorted({at for places in generation.parts.values() for at in places})
    places = {at: place for place, at in enumerate(used)}
    return replace(
        generation,
        texts=tuple(generation.texts[at] for at in used),
        parts={n: tuple(places[at] for at in some) for n, some in generation.parts.items()},
    )


def _gathered(client: Client, envelope: Signed, manifest: Manifest) -> PackedGeneration:
    """A registry's highest generation, its parts one by one. Raises :class:`Malformed` where they
    are not all there, or are larger together than a generation may be."""
    texts: list[str] = []
    places: dict[str, tuple[int, ...]] = {}
    size = 0
    for place, node in enumerate(manifest.nodes):
        target = f"{paths.PARTS}/{node}"
        answer = client.ask("GET", target, signed=True, timeout=WORK_SECONDS)
        size += len(answer.body)
        if not answer.ok or size > paths.MAX_GENERATION:
            raise Malformed("not all parts, or too much of them")
        texts.append(answer.body.decode("utf-8", "replace"))
        places[node] = (place,)
    return PackedGeneration(envelope, tuple(texts), places, "")


def _sent(client: Client, generation: PackedGeneration, body: bytes) -> Answer:
    """A registry's answer to a generation; ``body`` is the generation as bytes."""
    # Asked first: a registry that does not take packed ones closes the connection early.
    status = client.ask("GET", f"{paths.API}/status", signed=True, timeout=WORK_SECONDS)
    if not status.ok:
        return status
    if takes(status, paths.PACKED):
        return client.ask("PUT", paths.PACKED, body, signed=True, timeout=WORK_SECONDS)
    whole = _fitting(
        generation.unpacked(),
        "its registry is of an earlier version: leave out nodes that are new, and add them once "
        "it has been updated",
    )
    return client.ask("PUT", paths.GENERATION, whole, signed=True, timeout=WORK_SECONDS)


def takes(status: Answer, path: str) -> bool:
    """Whether a registry with that state has this path of the operator's."""
    try:
        return path in decoded(dict, status.body).get("takes", ())
    except (Malformed, TypeError):
        return False


def _fitting(generation: PackedGeneration | Generation, cure: str) -> bytes:
    """A generation as bytes. Checked here whether registries take it: they close the connection on
    more bytes, without a reason."""
    body = dump(generation)
    if len(body) > paths.MAX_GENERATION:
        raise PublishError(
            f"mesh:nodes: the generation of {len(generation.parts)} nodes has {len(body):,} "
            f"bytes, and registries take {paths.MAX_GENERATION:,}; {cure}"
        )
    return body


def _prepared(client: Client, bundle: bytes, planned: Planned) -> str | None:
    """None where a registry has all that it needs, or why not."""
    digest = sha256(bundle)
    held = client.ask("HEAD", f"{paths.BUNDLE}/{digest}", timeout=WORK_SECONDS)
    if held.status != 200:
        # A registry takes it from its operator. A bootstrap, which only knows the hash, takes it
        # from anybody, and then ends so that the registry starts.
        is_registry = held.status == 404
        target = f"{paths.BUNDLE}/{digest}"
        put = client.ask("PUT", target, bundle, signed=is_registry, timeout=WORK_SECONDS)
        if not put.ok and not is_registry and put.status == 403:
            return (
                "its server was made for another bundle than this checkout's, and has none yet; "
                "replace it and every server that has not joined "
                "(pulumi up --replace '**<node>-instance')"
            )
        if not put.ok:
            return f"bundle: {put.why()}"
        if not is_registry:
            client.close()
            return "has its bundle, and starts"
    answer = client.ask("PUT", paths.PLANNED, dump(planned), signed=True, timeout=WORK_SECONDS)
    if answer.status == 403 and planned.network is not None:
        raise _AnotherNetwork(f"planned nodes: {answer.why()}")
    return None if answer.ok else f"planned nodes: {answer.why()}"


class _AnotherNetwork(Exception):
    """A registry serves another network with the same key."""


def _entries(answer: Answer) -> list[str]:
    """The documents of a JSON list, each as text for its own parser."""
    if not answer.ok:
        return []
    try:
        return [json.dumps(entry) for entry in decoded(list, answer.body)]
    except Malformed:
        return []


def decoded(kind: type[T], text: str | bytes) -> T:
    """JSON with that outermost type; raises :class:`Malformed`.

    A registry with a wrong answer must not end the operator's run: the others are still asked.
    """
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(value, kind):
        raise Malformed("not of the expected type")
    return value


def _made_printable(report: Report) -> Report:
    """A report with printable characters only: it is shown on the operator's terminal."""
    health = report.health
    return replace(
        report,
        reason=printable(report.reason),
        health=replace(
            health,
            services={printable(name): up for name, up in health.services.items()},
            sessions={printable(k): printable(v) for k, v in health.sessions.items()},
            tls_mismatches=tuple(map(printable, health.tls_mismatches)),
            refused={printable(reason): count for reason, count in health.refused.items()},
            bird=None if health.bird is None else printable(health.bird),
            announced=None if health.announced is None else _clean(health.announced),
            down=_clean({n: replace(d, error=printable(d.error)) for n, d in health.down.items()}),
            withheld=_clean({name: printable(why) for name, why in health.withheld.items()}),
            failures=_clean({name: printable(why) for name, why in health.failures.items()}),
            tunnels=None
            if health.tunnels is None
            else _clean({name: printable(why) for name, why in health.tunnels.items()}),
            refusals=tuple(replace(o, reason=printable(o.reason)) for o in health.refusals),
            faults=None
            if health.faults is None
            else _clean({name: printable(why) for name, why in health.faults.items()}),
            clocks=None if health.clocks is None else _clean(health.clocks),
            logins=None
            if health.logins is None
            else tuple(replace(one, key=printable(one.key)) for one in health.logins),
            unconfirmed=None
            if health.unconfirmed is None
            else replace(health.unconfirmed, lost=tuple(map(printable, health.unconfirmed.lost))),
            repairs=None if health.repairs is None else _repairs(health.repairs),
            families=_clean(health.families),
            warnings=_clean({name: printable(why) for name, why in health.warnings.items()}),
            contents=_clean(health.contents),
            units=_clean({name: printable(state) for name, state in health.units.items()}),
            witnessed={
                node: replace(one, seen=tuple(map(printable, one.seen)))
                for node, one in health.witnessed.items()
            },
        ),
    )


def _repairs(repairs: Repairs) -> Repairs:
    return replace(
        repairs,
        objects=tuple(
            replace(one, what=printable(one.what), why=printable(one.why), by=printable(one.by))
            for one in repairs.objects
        ),
    )


def _clean(named: Mapping[str, T]) -> dict[str, T]:
    return {printable(name): value for name, value in named.items()}


def highest(orders: Iterable[OrderT | None]) -> OrderT | None:
    """The order with the highest number; None where there is none."""
    found = [order for order in orders if order is not None]
    return max(found, key=lambda order: order.number, default=None)


def top(
    manifests: Iterable[tuple[Signed, Manifest]], network: str | None
) -> tuple[Signed, Manifest] | None:
    """The manifest of a network (None: of any) with the highest number; None where there is
    none."""
    found = [one for one in manifests if network in (None, one[1].network)]
    return max(found, key=lambda one: one[1].generation, default=None)


class Deadline:
    """A deadline for several waits."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def over(self) -> bool:
        """Whether it has passed."""
        return time.monotonic() >= self._end
