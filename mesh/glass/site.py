"""The paths of the looking glass: what is asked there, and in which form it is answered."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from mesh.glass import exchange, metrics, pages, questions
from mesh.glass.access import Access, Rates
from mesh.glass.answering import Answering, fitting
from mesh.glass.answers import Answer, Mistake, Refused, Routes, Served, Way
from mesh.glass.bird import Busy
from mesh.glass.calls import MAX_BYTES
from mesh.glass.exchange import Malformed, Request, Response
from mesh.glass.network import Address
from mesh.glass.questions import ALL, MeshQuestion, Unanswerable, mistake
from mesh.glass.snapshot import Snapshot
from mesh.glass.snapshots import NoSnapshot
from mesh.trust.encoding import adapter

T = TypeVar("T")
API = "/api/v1/"
_FITS = MAX_BYTES - 8192
"""Bytes of an answer to another node: it reads so many, with the head."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it is answered. ``api``: as JSON. ``alone``: no other node is asked."""

    view: pages.View
    given: Mapping[str, str]
    api: bool
    alone: bool

    @property
    def reduced(self) -> bool:
        """Whether it is answered for the public."""
        return self.view.public

    def json(self, answer: Answer[T], kind: type[Answer[T]]) -> Response:
        """An answer as JSON; to another node as much as it reads."""
        most = _FITS if self.alone else 64 * MAX_BYTES
        return Response(200, exchange.JSON, fitting(answer, kind, most))


Handler = Callable[[str, Asked], Response]


@dataclass(frozen=True, slots=True)
class Path:
    """What is behind the first part of a path: its parameters, whether a name follows, and whether
    the public may ask. ``pages_only``: it is no question, and has no JSON."""

    answer: Handler
    parameters: Collection[str] = ()
    named: bool = False
    public: bool = True
    pages_only: bool = False


class Site:
    """Answers requests; safe for several threads."""

    def __init__(
        self, access: Access, answering: Answering, clock: Callable[[], float] = time.time
    ) -> None:
        self._access, self._answering, self._clock = access, answering, clock
        self._rates, self._lock = Rates(access.is_peer), threading.Lock()
        self._codes: Counter[int] = Counter()
        self._strangers = 0
        self._paths = {
            "": Path(self._mesh, ("refresh",)),
            "nodes": Path(self._mesh),
            "node": Path(self._node, named=True),
            "route": Path(self._route, ("for", "node", "table", "more")),
            "refused": Path(self._refused, ("node", "session", "reason"), public=False),
            "service": Path(self._service, named=True),
            "way": Path(self._way, ("from", "to"), public=False),
            "orders": Path(self._orders),
            "rpki": Path(self._rpki),
            "help": Path(self._help, pages_only=True),
            "metrics": Path(self._metrics, public=False, pages_only=True),
        }

    def answer(self, request: Request, source: Address, local: Address) -> Response:
        """The response to a request from ``source`` at the address ``local``."""
        api = request.path.startswith(API)
        reduced = self._access.is_reduced(local)
        view = pages.View(self._access.network, self._access.here.id, reduced, self._clock())
        if (refused := self._refusal(request, source, local)) is not None:
            return refused
        try:
            response = self._always(request) or self._asked(request, source, view, api)
        except Unanswerable as error:
            response = self._mistake(view, api, error)
        except Busy:
            reason = "other questions are before this one"
            busy = mistake("server", "", reason, "ask again in a few seconds", 503)
            response = self._mistake(view, api, busy)
        self._count(response.status)
        return response

    def malformed(self, error: Malformed) -> Response:
        """The response to what is no request."""
        self._count(error.status)
        headers = {"Allow": "GET, HEAD"} if error.status == 405 else {}
        return Response(error.status, exchange.TEXT, f"{error}\n".encode(), headers)

    def failed(self) -> Response:
        """The response where this program is wrong."""
        self._count(500)
        return Response(500, exchange.TEXT, b"the looking glass has failed: see its journal\n")

    # --- Who asks ---------------------------------------------------------------------------------

    def _refusal(self, request: Request, source: Address, local: Address) -> Response | None:
        """The answer to who may not ask, with nothing of the network in it; None to others."""
        try:
            self._admit(request, source, local)
        except Unanswerable as error:
            self._count(error.status)
            why = error.mistake
            text = f"{why.key} {why.value}: {why.reason}; {why.cure}\n"
            return Response(error.status, exchange.TEXT, text.encode())
        return None

    def _admit(self, request: Request, source: Address, local: Address) -> None:
        if self._access.is_stranger(source, local):
            with self._lock:
                self._strangers += 1
            reason = "is not of the mesh"
            raise mistake("source", str(source), reason, "ask through SSH at a node", 403)
        self._access.check_host(request.host, self._access.is_reduced(local))

    def _always(self, request: Request) -> Response | None:
        """What costs nothing, and is not counted for a source."""
        if request.path == "/health":
            return Response(200, exchange.TEXT, b"ok\n")
        if request.path == "/style.css":
            return Response(200, exchange.CSS, pages.STYLE, {"Cache-Control": "max-age=300"})
        return None

    def _asked(self, request: Request, source: Address, view: pages.View, api: bool) -> Response:
        path, name = self._path(request.path, api)
        here = ("here",) if api else ()
        alone = "here=1" in request.query.split("&") and api
        self._rates.check(source, alone and not view.public and self._access.is_peer(source))
        if view.public and not path.public:
            raise mistake("path", request.path, "is not for the public", "see /help", 403)
        given = questions.parameters(request.query, (*path.parameters, *here))
        is_alone = questions.flag("here", given.pop("here", "")) or view.public
        return path.answer(name, Asked(view, given, api, is_alone))

    def _path(self, text: str, api: bool) -> tuple[Path, str]:
        first, slash, name = text.removeprefix(API if api else "/").partition("/")
        path = self._paths.get(first)
        is_there = path is not None and bool(name) == path.named and bool(slash) == path.named
        if path is None or not is_there or (api and (path.pages_only or first == "")):
            raise mistake("path", text, "is not here", "see /help", 404)
        if not api and first == "nodes":
            raise mistake("path", text, "is not here", "/ shows the nodes", 404)
        return path, name

    # --- What is asked ----------------------------------------------------------------------------

    def _mesh(self, _: str, asked: Asked) -> Response:
        answer = self._answering.mesh(MeshQuestion(), asked.alone, asked.reduced)
        if asked.api:
            return asked.json(answer, Answer[Snapshot])
        refresh = asked.given.get("refresh", "0")
        if not (refresh.isascii() and refresh.isdigit() and len(refresh) <= 3):
            raise mistake("refresh", refresh, "is no number of seconds", "refresh=10")
        return _page(pages.mesh(asked.view, answer, int(refresh)))

    def _node(self, name: str, asked: Asked) -> Response:
        node = questions.node("node", name, self._access.network)
        self._only_here(asked, node.id)
        question = MeshQuestion(node=node.id)
        answer = self._answering.mesh(question, asked.alone, asked.reduced)
        if asked.api:
            return asked.json(answer, Answer[Snapshot])
        return _page(pages.node(asked.view, node.id, answer))

    def _route(self, _: str, asked: Asked) -> Response:
        question = questions.route(asked.given, self._access.network)
        if question is None:
            self._needs(asked, "for", "an address or a prefix")
            return _page(pages.route(asked.view, None, None))
        if question.node != ALL:
            self._only_here(asked, question.node)
        if question.more and asked.reduced:
            raise mistake("more", "1", "is not for the public", "ask for one prefix", 403)
        answer = self._answering.routes(question, asked.alone, asked.reduced)
        if asked.api:
            return asked.json(answer, Answer[Routes])
        return _page(pages.route(asked.view, question, answer))

    def _refused(self, _: str, asked: Asked) -> Response:
        question = questions.refused(asked.given, self._access.network)
        if question is None and asked.api:
            question = questions.refused({"node": ALL}, self._access.network)
        if question is None:
            return _page(pages.refused(asked.view, None, None))
        if question.node != ALL:
            self._only_here(asked, question.node)
        answer = self._answering.refused(question, asked.alone)
        if asked.api:
            return asked.json(answer, Answer[Refused])
        return _page(pages.refused(asked.view, question, answer))

    def _service(self, name: str, asked: Asked) -> Response:
        question = questions.service(name, self._access.network)
        answer = self._answering.served(question, asked.alone)
        if asked.api:
            return asked.json(answer, Answer[Served])
        return _page(pages.service(asked.view, question.name, answer))

    def _way(self, _: str, asked: Asked) -> Response:
        question = questions.way(asked.given, self._access.network)
        if question is None:
            self._needs(asked, "from", "two nodes: from and to")
            return _page(pages.way(asked.view, None, None))
        if asked.alone:
            self._only_here(asked, question.start)
        answer = self._answering.way(question)
        if asked.api:
            return asked.json(answer, Answer[Way])
        return _page(pages.way(asked.view, question, answer))

    def _orders(self, _: str, asked: Asked) -> Response:
        return self._state(asked, pages.orders)

    def _rpki(self, _: str, asked: Asked) -> Response:
        return self._state(asked, pages.rpki)

    def _state(self, asked: Asked, page: Callable[[pages.View, Answer[Any]], str]) -> Response:
        answer = self._answering.mesh(MeshQuestion(), asked.alone, asked.reduced)
        if asked.api:
            return asked.json(answer, Answer[Snapshot])
        return _page(page(asked.view, answer))

    def _help(self, _: str, asked: Asked) -> Response:
        return _page(pages.help(asked.view))

    def _metrics(self, _: str, asked: Asked) -> Response:
        try:
            snapshot = self._answering.snapshot()
        except NoSnapshot:
            snapshot = None
        with self._lock:
            requests = metrics.Requests(dict(self._codes), self._strangers, self._access.here.id)
        text = metrics.exposition(snapshot, self._access.network, self._clock(), requests)
        return Response(200, exchange.METRICS, text.encode())

    # --- What is not answered ---------------------------------------------------------------------

    def _only_here(self, asked: Asked, node: str) -> None:
        """Where no other node is asked, none can be asked about."""
        if asked.alone and node != self._access.here.id:
            reason = "is another node, and this one answers for itself alone here"
            raise mistake("node", node, reason, self._access.here.id, 403)

    def _needs(self, asked: Asked, key: str, cure: str) -> None:
        """JSON has no form."""
        if asked.api:
            raise mistake(key, "", "is missing", cure)

    def _mistake(self, view: pages.View, api: bool, error: Unanswerable) -> Response:
        headers = {"Retry-After": "1"} if error.status in (429, 503) else {}
        if api:
            body = adapter(dict[str, Mistake]).dump_json({"error": error.mistake})
            return Response(error.status, exchange.JSON, body, headers)
        page = pages.mistake(view, error.status, error.mistake)
        return Response(error.status, exchange.HTML, page.encode("utf-8", "replace"), headers)

    def _count(self, status: int) -> None:
        with self._lock:
            self._codes[status] += 1


def _page(text: str) -> Response:
    return Response(200, exchange.HTML, text.encode("utf-8", "replace"))
