"""The connection to one registry: one thread waits for generations and orders, another reports.

Every registry has its own connection, so that a dead or compromised one delays nothing: everything
received is verified, and the highest valid number counts.
"""

from __future__ import annotations

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from mesh.agent import log
from mesh.agent.refusals import What
from mesh.agent.state import HighestManifest, Ordered
from mesh.agent.workers import Workers
from mesh.registry import paths
from mesh.registry.client import Answer, Client, Unreachable
from mesh.trust import joining
from mesh.trust.documents import JoinRequest
from mesh.trust.encoding import Malformed, dump, parse
from mesh.trust.orders import KINDS, OrderKind
from mesh.trust.requests import Signer
from mesh.trust.signing import Signed

MEMBER_WAIT = 25.0
"""Long-poll of a member, in seconds."""
JOINING_WAIT = 1.0
"""The same before it is a member: facts may still change, and are sent again then."""
SETTLING = 20.0
"""Seconds after connecting in which a member without IPv6 polls as often: a node that has just
booted may connect before it has its address."""
REJOIN = 10.0
"""Seconds until a request to join is repeated, for a registry that has lost it."""
PATIENCE = (0.15, 5.0)
"""Seconds between tries, first and last."""
STOPS_WITHIN = 1.0
"""Seconds until an idle thread sees that it has to stop."""
COMPLAINTS = 10.0
"""Seconds between two warnings about a registry."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """The agent's functions for a connection. ``offer`` and ``offer_order`` return the number of an
    envelope that the operator signed, None for any other."""

    held: Callable[[], HighestManifest | None]
    ordered: Callable[[OrderKind[Any]], Ordered[Any] | None]
    is_member: Callable[[], bool]
    request: Callable[[], JoinRequest | None]
    offer: Callable[[Signed, str], int | None]
    offer_order: Callable[[OrderKind[Any], Signed, str], int | None]
    certificate: Callable[[str, str | None], None]
    superseded: Callable[[What], None] = lambda _: None
    """Called when the registry has stored our manifest or order of that kind."""
    candidate: Signer | None = None
    """Signs with the proof key of our token; None without one."""
    clock: Callable[[str, float], None] = lambda *_: None
    """Called with the seconds by which our clock is ahead of that registry's."""
    later: Callable[[Signed], None] = lambda _: None
    """Called with the report that the registry holds instead of the one sent."""
    back: Callable[[], None] = lambda: None
    """Called when the registry answers again: it may be new, and know no report of ours."""


class RegistryLink:
    """The connection to one registry."""

    def __init__(
        self, url: str, signer: Signer, callbacks: Callbacks, stop: threading.Event
    ) -> None:
        self.url = url
        self._signer, self._callbacks, self._stop = signer, callbacks, stop
        self._report: Signed | None = None
        self._news = threading.Condition()
        self._sent: tuple[JoinRequest, float] | None = None
        self._connected = time.monotonic()
        self._asked: dict[str, float] = {}
        self._early: tuple[int, ...] | None = None
        self._foreign = False
        """Whether the registry held a higher generation than ours that is none of ours."""
        self._shown = 0
        """The registry's highest generation without this node, before we are a member."""
        self.answers: bool | None = None
        """Whether the registry answered the last request as it should; None before the first."""
        self._lost = False
        """Whether the registry did not answer, and has not been found again."""
        self._warned = -COMPLAINTS
        self._refused_join_sent = -REJOIN

    def start(self, workers: Workers) -> None:
        """Starts both threads. After a failure they restart with a new connection."""
        for name, work in (("listen", self._listen), ("report", self._send_reports)):
            workers.start(f"{name} {self.url}", work)

    def report(self, report: Signed) -> None:
        """Sends this report as soon as possible, instead of any earlier one."""
        with self._news:
            self._report = report
            self._news.notify()

    def asked(self, kind: OrderKind[Any]) -> float:
        """When the registry last answered a request for an order of that kind (monotonic seconds);
        minus infinity if never."""
        return self._asked.get(kind.key, -math.inf)

    # --- receiving ---------------------------------------------------------------------------

    def _listen(self) -> None:
        client = Client(self.url, self._signer)
        pause = Backoff()
        fresh = True
        while not self._stop.is_set():
            try:
                if self._round(client, fresh):
                    pause.reset()
                fresh = self._foreign
            except Unreachable as error:
                self.answers, self._lost = False, True
                now = time.monotonic()
                if pause.first and now - self._warned >= COMPLAINTS:
                    self._warned = now
                    log.warning("registry", url=self.url, reason=error)
                fresh = True
                self._stop.wait(pause.next())

    def _round(self, client: Client, fresh: bool) -> bool:
        """Joins if the registry does not have our request, then waits for a generation or an order
        above ours. False if the registry answered early without one: the next round fetches the
        order, or finds that there is none."""
        early, self._early = self._early, None
        if fresh:
            self._shown = 0
        member, held = self._callbacks.is_member(), self._callbacks.held()
        number = self._shown if held is None else held.number
        if fresh and held is not None and self._theirs(client) < number:
            # The registry has lost its database: pass the manifest on. Before joining, so that an
            # operator without state sees with our request which network we follow.
            self._pass_on(client, paths.MANIFEST, "manifest", held.envelope)
        self._join(client, fresh, member)
        # Before we are a member, orders for members only are not readable.
        kinds = [kind for kind in KINDS if member or not kind.members_only]
        orders = "".join(f"&{k.key}={self._take_order(client, k, fresh)}" for k in kinds)
        self.answers = True
        if early == self._orders() and not fresh:
            # Without a pause we would ask hundreds of times a second.
            raise Unreachable(f"{self.url}: answers at once, without news")
        if fresh and self._lost:
            self._lost = False
            self._callbacks.back()
        wait = MEMBER_WAIT if member and self._settled() else JOINING_WAIT
        began, known = time.monotonic(), self._orders()
        answer = client.ask(
            "GET",
            f"{paths.MANIFEST}?after={number}&wait={wait:g}{orders}",
            timeout=wait + 10,
            limit=paths.MAX_MANIFEST,
        )
        self._callbacks.certificate(self.url, client.tls_sha256)
        if client.ahead is not None:
            self._callbacks.clock(self.url, client.ahead)
        if answer.status == 200:
            offered = self._offer(answer, self._callbacks.offer)
            if offered is None:
                raise Unreachable(f"{self.url}: offers a manifest that our operator did not sign")
            held = self._callbacks.held()
            if held is None and offered > number:
                self._shown = offered  # A higher generation may contain this node.
            elif held is None or offered <= number or held.number < offered:
                raise Unreachable(f"{self.url}: offers a generation that is not above ours")
        elif answer.status != 204:
            raise Unreachable(f"{self.url}: {answer.why()}")
        elif time.monotonic() - began < wait / 2:
            self._early = known
        return self._early is None

    def _theirs(self, client: Client) -> int:
        """The number of the registry's generation. Where that is none of ours, what the registry
        holds is asked for again: it may drop it, and has nothing then."""
        answer = client.ask("GET", paths.MANIFEST, limit=paths.MAX_MANIFEST)
        found = (self._offer(answer, self._callbacks.offer) or 0) if answer.status == 200 else 0
        held = self._callbacks.held()
        self._foreign = found > (0 if held is None else held.number)
        return found

    def _take_order(self, client: Client, kind: OrderKind[Any], fresh: bool) -> int:
        """Fetches a higher order of a kind, and passes ours on if the registry has lost it. Returns
        the number of our order. A registry of an earlier version may not know the kind."""
        number, began = self._ordered(kind), time.monotonic()
        after, place = 0 if fresh else number, paths.order(kind.key)
        target, signed = f"{place}?after={after}", kind.members_only
        answer = client.ask("GET", target, signed=signed, limit=paths.max_order(kind.key))
        theirs = 0
        if answer.status == 200:
            offered = self._offer(answer, partial(self._callbacks.offer_order, kind))
            if offered is None:
                raise Unreachable(
                    f"{self.url}: offers a {kind.name} that our operator did not sign"
                )
            if offered <= after:
                raise Unreachable(f"{self.url}: offers an old {kind.name}, {offered}")
            theirs = offered
        if fresh and theirs < number and (held := self._callbacks.ordered(kind)) is not None:
            self._pass_on(client, place, kind.key, held.envelope)
        if theirs > self._ordered(kind):
            # Of another network of the same operator: asked again, it would be offered again.
            raise Unreachable(f"{self.url}: offers a {kind.name} that is not ours")
        if answer.status in (200, 204):
            self._asked[kind.key] = began
        return self._ordered(kind)

    def _pass_on(self, client: Client, place: str, what: What, envelope: Signed) -> None:
        if client.ask("PUT", place, dump(envelope)).ok:
            self._callbacks.superseded(what)

    def _orders(self) -> tuple[int, ...]:
        return tuple(self._ordered(kind) for kind in KINDS)

    def _ordered(self, kind: OrderKind[Any]) -> int:
        held = self._callbacks.ordered(kind)
        return 0 if held is None else held.number

    def _offer(self, answer: Answer, offer: Callable[[Signed, str], int | None]) -> int | None:
        """Passes an envelope to the agent."""
        try:
            envelope = parse(Signed, answer.body)
        except Malformed as error:
            raise Unreachable(f"{self.url}: {error}") from None
        return offer(envelope, self.url)

    def _join(self, client: Client, fresh: bool, member: bool) -> None:
        """Sends our facts: a member once per connection and after each change, so that a new
        registry has them; a node that is no member repeats them."""
        now = time.monotonic()
        if fresh:
            self._sent, self._connected = None, now
        sent, when = self._sent or (None, 0.0)
        request = self._callbacks.request()
        if request is None or (sent == request and (member or now - when < REJOIN)):
            return
        answer = client.ask("POST", paths.JOIN, dump(request))
        if answer.ok:
            if sent != request:
                log.info("join-requested", url=self.url)
            self._sent = (request, now)
        elif not member:
            if answer.status == 403:
                self._send_refused_join(request)
            raise Unreachable(f"{self.url}: join: {answer.why()}")

    def _settled(self) -> bool:
        """Whether the facts that were sent are complete, or need no longer be waited for: to look
        at them takes five processes."""
        if self._sent is None:
            return False
        found = joining.stated_facts(self._sent[0])
        complete = found.ipv6 is not None and found.gateway6 is not None
        return complete or time.monotonic() - self._connected > SETTLING

    def _send_refused_join(self, request: JoinRequest) -> None:
        """Sends a refused request for the operator, signed with the token's proof key: registries
        refuse a node whose address is not the planned one. Earlier versions ignore it."""
        now = time.monotonic()
        if self._callbacks.candidate is None or now - self._refused_join_sent < REJOIN:
            return
        self._refused_join_sent = now
        with Client(self.url, self._callbacks.candidate) as client:
            client.ask("POST", paths.REFUSED_JOINS, dump(request), signed=True)

    # --- reporting ---------------------------------------------------------------------------

    def _send_reports(self) -> None:
        client = Client(self.url, self._signer)
        pause, refusal = Backoff(), ""
        while not self._stop.is_set():
            with self._news:
                while self._report is None and not self._stop.is_set():
                    self._news.wait(STOPS_WITHIN)
                report = self._report
            if report is None:
                return
            try:
                answer = client.ask("POST", paths.REPORT, dump(report), signed=True)
                if not answer.ok:
                    refusal = self._refused(answer, refusal)
                    raise Unreachable(f"{self.url}: report: {answer.why()}")
                pause.reset()
                refusal = ""
                self.answers = True
                with self._news:
                    if self._report is report:
                        self._report = None
                if answer.status == 200:
                    with contextlib.suppress(Malformed):
                        self._callbacks.later(parse(Signed, answer.body))
            except Unreachable:
                self.answers = False
                self._stop.wait(pause.next())

    def _refused(self, answer: Answer, before: str) -> str:
        """Logs once that the registry cannot take a report: its disk may be full. Returns the
        reason; ``before`` is the one of the last try."""
        reason = f"report: {answer.why()}"
        if answer.status >= 500 and reason != before:
            log.warning("registry", url=self.url, reason=reason)
        return reason


class Backoff:
    """Growing random waits, so that the nodes do not retry at the same time."""

    def __init__(self) -> None:
        self._next = PATIENCE[0]

    @property
    def first(self) -> bool:
        """Whether the last try succeeded."""
        return self._next == PATIENCE[0]

    def next(self) -> float:
        """Seconds to wait now."""
        now = self._next
        self._next = min(now * 1.4, PATIENCE[1])
        return now * random.uniform(0.7, 1.3)  # noqa: S311  not a secret

    def reset(self) -> None:
        """Called after a successful try."""
        self._next = PATIENCE[0]
