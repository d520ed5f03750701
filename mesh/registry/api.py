"""The API over HTTP: a route per document, and nothing that decides (see :mod:`gate`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mesh.registry import paths
from mesh.registry.cached_answers import Answers
from mesh.registry.connections import Connections
from mesh.registry.gate import Gate
from mesh.registry.known_networks import Priority
from mesh.registry.limits import ConcurrencyLimit
from mesh.registry.registry import Address, Caller, Current, Refused, Registry
from mesh.trust.documents import NodeView, Part
from mesh.trust.encoding import Malformed, dump, parse
from mesh.trust.orders import BLACKHOLE, DRAIN, HOLD, KINDS, Kind
from mesh.trust.requests import Nonces

TAKES = (paths.PACKED,)
"""Paths for generations that earlier versions do not have."""
PIECE = 64 << 10
"""Bytes of an answer per write."""


@dataclass(frozen=True, slots=True)
class AskedAddress:
    """Body of ``discover``: the external address that is asked for."""

    address: Address


Number = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class News:
    """Query for a manifest or an order: what is above ``after``, waited for so many seconds, or
    until there is an order above those that are named."""

    after: Number = 0
    wait: Annotated[float, Field(ge=0, le=paths.MAX_WAIT)] = 0
    drain: Number | None = None
    blackhole: Number | None = None
    hold: Number | None = None


_NEWS = TypeAdapter(News)


class Pieced(Response):
    """A body that is sent as fast as its reader takes it, and held once for all who read it:
    whoever asks and does not read costs a piece of it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})
        body = bytes(self.body)
        for at in range(0, len(body) or 1, PIECE):
            more = at + PIECE < len(body)
            piece = body[at : at + PIECE]
            await send({"type": "http.response.body", "body": piece, "more_body": more})


class Bell:
    """Wakes the long-polls when there is something new."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes all waiting requests."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Waits until the next ring, or so many seconds."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return


def application(registry: Registry, connections: Connections) -> Starlette:
    """The registry's ASGI application, gate included."""
    answers = Answers()
    bell, born = Bell(), time.monotonic()
    waiting_of = {standing: ConcurrencyLimit(16, 3000, standing.sources) for standing in Priority}

    async def made(
        current: Current | None, kind: str, name: str, make: Callable[[], bytes]
    ) -> Response:
        """An answer that is the same until the next generation; ``current`` is the one of now."""
        digest = "" if current is None else current.manifest_sha256
        body = answers.get(digest, kind, name)
        if body is None:
            body = await run_in_threadpool(make)
            # Else it may be of the next one, or of both.
            if registry.current() is current:
                answers.put(digest, kind, name, body)
        return Pieced(body, media_type="application/json")

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        content: dict[str, Any] = {"error": error.reason}
        if error.nodes:
            content["nodes"] = list(error.nodes)
        return JSONResponse(content, error.status)

    async def other(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": "nothing is here"}, error.status_code)

    # --- open to all: signed, hashed, or without content -------------------------------------

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def nonce(_: Request) -> Response:
        return Response(status_code=204)

    async def manifest(request: Request) -> Response:
        """A long-poll ends without content when an order is higher than the request's: one
        connection waits for both."""
        asked = _news(request)
        orders = ((DRAIN, asked.drain), (BLACKHOLE, asked.blackhole), (HOLD, asked.hold))
        address = _caller(request).address
        until = time.monotonic() + asked.wait
        waiting = waiting_of[connections.known.standing(address)]
        here = asked.wait > 0 and waiting.enter(address)
        try:
            while (
                here
                and _number(registry) <= asked.after
                and all(n is None or _ordered(registry, kind) <= n for kind, n in orders)
                and time.monotonic() < until
            ):
                await bell.wait(until - time.monotonic())
        finally:
            if here:
                waiting.leave(address)
        current = registry.current()
        if current is None or current.manifest.generation <= asked.after:
            return Response(status_code=204)
        return await made(current, "manifest", "", lambda: current.held.envelope.encode())

    async def bring_manifest(request: Request) -> Response:
        fresh = await run_in_threadpool(registry.accept_manifest, await request.body())
        if fresh:
            bell.ring()
        return Response(status_code=201 if fresh else 204)

    def relay(kind: Kind[Any]) -> list[Route]:
        async def order(request: Request) -> Response:
            standing = registry.standing(kind)
            if standing is None or standing.order.number <= _news(request).after:
                return Response(status_code=204)
            return _json(standing.envelope)

        async def bring_order(request: Request) -> Response:
            fresh = await run_in_threadpool(registry.accept_order, kind, await request.body())
            if fresh:
                bell.ring()
            return Response(status_code=201 if fresh else 204)

        place = paths.order(kind.key)
        return [Route(place, order), Route(place, bring_order, methods=["PUT"])]

    async def bundle(request: Request) -> Response:
        digest = request.path_params["digest"]
        content = registry.held_bundle(digest) or await run_in_threadpool(registry.bundle, digest)
        if content is None:
            raise Refused(404, "no such bundle")
        return Pieced(content, media_type="application/zip")

    async def join(request: Request) -> Response:
        await run_in_threadpool(registry.accept_join, _caller(request), await request.body())
        return Response(status_code=202)

    # --- the operator's ----------------------------------------------------------------------

    async def put_bundle(request: Request) -> Response:
        body, digest = await request.body(), request.path_params.get("digest")
        await run_in_threadpool(registry.accept_bundle, _caller(request), digest, body)
        return Response(status_code=201)

    async def put_planned(request: Request) -> Response:
        await run_in_threadpool(registry.accept_planned, await request.body())
        return Response(status_code=204)

    def generations(path: str, accept: Callable[[bytes], int]) -> Route:
        async def put_generation(request: Request) -> Response:
            number = await run_in_threadpool(accept, await request.body())
            bell.ring()
            return JSONResponse({"generation": number}, 201)

        return Route(path, put_generation, methods=["PUT"])

    async def refused_join(request: Request) -> Response:
        registry.note_refused_join(_caller(request), await request.body())
        return Response(status_code=202)

    async def refused_joins(_: Request) -> Response:
        return _list([dump(one).decode() for one in registry.refused_joins()])

    async def joins(_: Request) -> Response:
        return _list(await run_in_threadpool(registry.store.joins))

    async def reports(_: Request) -> Response:
        return _list(await run_in_threadpool(registry.store.reports))

    # --- a member's ---------------------------------------------------------------------------

    async def part(request: Request) -> Response:
        node = request.path_params["node"]
        registry.check_part(_caller(request), node)
        return await made(registry.current(), "part", node, lambda: registry.part(node).encode())

    async def report(request: Request) -> Response:
        """Answers with the node's later report, if there is one. The node then numbers above it,
        which matters after its clock was ahead."""
        body = await request.body()
        later = await run_in_threadpool(registry.accept_report, _caller(request), body)
        return Response(status_code=204) if later is None else _json(later)

    async def config(request: Request) -> Response:
        node, view = registry.node(request.path_params["name"])
        current = registry.current()
        return await made(current, "config", node, lambda: _config(registry, node, view))

    async def wireguard(request: Request) -> Response:
        node, view = registry.node(request.path_params["name"])
        return JSONResponse({"node": node, "generation": _number(registry), **view.wireguard})

    async def cloud_init(request: Request) -> Response:
        view = registry.node(request.path_params["name"])[1]
        return PlainTextResponse(view.cloud_init, media_type="text/cloud-config")

    async def firewall(_: Request) -> Response:
        views = registry.views()
        return JSONResponse({"generation": _number(registry), **views.firewall})

    async def planned(request: Request) -> Response:
        """The addresses of planned nodes, for the firewall of a registry's node, which at first
        only has a token and asks over lo. Elsewhere a token does not permit this."""
        caller = _caller(request)
        if caller.kind == "token" and not caller.address.is_loopback:
            raise Refused(401, "a member's identity is needed")
        return JSONResponse([str(one) for one in sorted(registry.addresses(), key=str)])

    async def discover(request: Request) -> Response:
        caller = _caller(request)
        node, region, addresses = registry.discover(caller, _asked(await request.body()))
        return JSONResponse({"node": node, "region": region, "addresses": addresses})

    async def status(_: Request) -> Response:
        current, planned = registry.current(), registry.planned()
        return JSONResponse(
            {
                "status": "ok",
                "network": registry.network,
                "takes": list(TAKES),
                "generation": _number(registry),
                "complete": current is not None and current.held.complete,
                "manifest_sha256": None if current is None else current.manifest_sha256,
                "retired": current is not None and current.manifest.retired,
                **{kind.key: _ordered(registry, kind) for kind in KINDS},
                "planned": 0 if planned is None else len(planned.nodes),
                "members": 0 if current is None else len(current.manifest.nodes),
                "uptime_seconds": round(time.monotonic() - born, 3),
                "rows": registry.store.counted or await run_in_threadpool(registry.store.counts),
            }
        )

    nodes = paths.API + "/nodes"
    app = Starlette(
        routes=[
            Route(paths.HEALTH, health),
            Route(paths.NONCE, nonce),
            Route(paths.MANIFEST, manifest),
            Route(paths.MANIFEST, bring_manifest, methods=["PUT"]),
            *(route for kind in KINDS for route in relay(kind)),
            Route(paths.BUNDLE + "/{digest}", bundle),
            Route(paths.JOIN, join, methods=["POST"]),
            Route(paths.BUNDLE, put_bundle, methods=["PUT"]),
            Route(paths.BUNDLE + "/{digest}", put_bundle, methods=["PUT"]),
            Route(paths.PLANNED, planned),
            Route(paths.PLANNED, put_planned, methods=["PUT"]),
            generations(paths.GENERATION, registry.accept_generation),
            generations(paths.PACKED, registry.accept_packed),
            Route(paths.JOINS, joins),
            Route(paths.REFUSED_JOINS, refused_joins),
            Route(paths.REFUSED_JOINS, refused_join, methods=["POST"]),
            Route(paths.REPORTS, reports),
            Route(paths.PARTS + "/{node}", part),
            Route(paths.REPORT, report, methods=["POST"]),
            Route(nodes + "/{name}/config", config),
            Route(nodes + "/{name}/wireguard", wireguard),
            Route(nodes + "/{name}/cloud-init", cloud_init),
            Route(nodes + "/discover", discover, methods=["POST"]),
            Route(paths.API + "/firewall/rules", firewall),
            Route(paths.API + "/status", status),
        ],
        middleware=[Middleware(Gate, registry=registry, nonces=Nonces(), connections=connections)],
        exception_handlers={Refused: refused, HTTPException: other},
    )
    app.router.redirect_slashes = False
    return app


def _news(request: Request) -> News:
    try:
        return _NEWS.validate_strings(dict(request.query_params))
    except ValidationError:
        raise Refused(400, "malformed request") from None


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _number(registry: Registry) -> int:
    current = registry.current()
    return 0 if current is None else current.manifest.generation


def _ordered(registry: Registry, kind: Kind[Any]) -> int:
    standing = registry.standing(kind)
    return 0 if standing is None else standing.order.number


def _own(text: str) -> Part:
    try:
        return parse(Part, text)
    except Malformed:
        # Of a later version: this registry's own node is about to renew it.
        raise Refused(503, "the part is of a later version than this registry") from None


def _config(registry: Registry, node: str, view: NodeView) -> bytes:
    own = _own(registry.part(node))
    content = {
        "node": node,
        "region": view.region,
        "generation": _number(registry),
        **view.description,
        "files": [
            {"path": f.path, "mode": f"{f.mode:04o}", "group": f.group, "content": f.content}
            for f in own.files
        ],
        "sealed": [file.path for file in own.sealed],
        "units": list(own.units),
    }
    return bytes(JSONResponse(content).body)


def _asked(body: bytes) -> Address | None:
    """The address in a ``discover`` request; an empty body asks for the caller's own."""
    if not body:
        return None
    try:
        return parse(AskedAddress, body).address
    except Malformed as error:
        raise Refused(400, str(error)) from None


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _list(texts: list[str]) -> Response:
    """Documents that are JSON already, as one array."""
    return _json("[" + ",".join(texts) + "]")
