"""The API over HTTP: a route per document, and nothing that decides (see :mod:`gate`)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from mesh.discovery import paths
from mesh.discovery.gate import Gate
from mesh.discovery.limits import Waiting
from mesh.discovery.registry import Address, Caller, Refused, Registry
from mesh.trust.documents import Part
from mesh.trust.encoding import Malformed, parse
from mesh.trust.orders import BLACKHOLE, DRAIN, KINDS, Kind
from mesh.trust.requests import Nonces


@dataclass(frozen=True, slots=True)
class Asked:
    """Body of ``discover``: the external address that is asked for."""

    address: Address


class Bell:
    """Wakes the long-polls when there is something new."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes all who wait now."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Until the next ring, or so many seconds."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return


def application(registry: Registry) -> FastAPI:
    """The registry's ASGI application, gate included."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_middleware(Gate, registry=registry, nonces=Nonces())
    bell, waiting, born = Bell(), Waiting(per_source=16, total=3000), time.monotonic()

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        content: dict[str, Any] = {"error": error.reason}
        if error.nodes:
            content["nodes"] = list(error.nodes)
        return JSONResponse(content, error.status)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, __: RequestValidationError) -> Response:
        return JSONResponse({"error": "malformed request"}, 400)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": "nothing is here"}, error.status_code)

    # --- open to all: signed, hashed, or without content -------------------------------------

    @app.get(paths.HEALTH)
    async def health() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get(paths.NONCE)
    async def nonce() -> Response:
        return Response(status_code=204)

    @app.get(paths.MANIFEST)
    async def manifest(
        request: Request,
        after: Annotated[int, Query(ge=0)] = 0,
        wait: Annotated[float, Query(ge=0, le=paths.MAX_WAIT)] = 0,
        drain: Annotated[int | None, Query(ge=0)] = None,
        blackhole: Annotated[int | None, Query(ge=0)] = None,
    ) -> Response:
        """The manifest above ``after``. Who waits for one is answered with nothing as soon as
        there is an order above those that it names: the same line tells of all."""
        known = ((DRAIN, drain), (BLACKHOLE, blackhole))
        address = _caller(request).address
        until = time.monotonic() + wait
        here = wait > 0 and waiting.enter(address)
        try:
            while (
                here
                and _number(registry) <= after
                and all(n is None or _ordered(registry, kind) <= n for kind, n in known)
                and time.monotonic() < until
            ):
                await bell.wait(until - time.monotonic())
        finally:
            if here:
                waiting.leave(address)
        current = registry.current()
        if current is None or current.manifest.generation <= after:
            return Response(status_code=204)
        return _json(current.held.envelope)

    @app.put(paths.MANIFEST)
    async def bring_manifest(request: Request) -> Response:
        fresh = await run_in_threadpool(registry.accept_manifest, await request.body())
        if fresh:
            bell.ring()
        return Response(status_code=201 if fresh else 204)

    def relay(kind: Kind[Any]) -> None:
        @app.get(paths.order(kind.key))
        async def order(after: Annotated[int, Query(ge=0)] = 0) -> Response:
            standing = registry.standing(kind)
            if standing is None or standing.order.number <= after:
                return Response(status_code=204)
            return _json(standing.envelope)

        @app.put(paths.order(kind.key))
        async def bring_order(request: Request) -> Response:
            fresh = await run_in_threadpool(registry.accept_order, kind, await request.body())
            if fresh:
                bell.ring()
            return Response(status_code=201 if fresh else 204)

    for kind in KINDS:
        relay(kind)

    @app.api_route(paths.BUNDLE + "/{digest}", methods=["GET", "HEAD"])
    async def bundle(digest: str) -> Response:
        content = await run_in_threadpool(registry.store.bundle, digest)
        if content is None:
            raise Refused(404, "no such bundle")
        return Response(content, media_type="application/zip")

    @app.post(paths.JOIN)
    async def join(request: Request) -> Response:
        await run_in_threadpool(registry.accept_join, _caller(request), await request.body())
        return Response(status_code=202)

    # --- the operator's ----------------------------------------------------------------------

    @app.put(paths.BUNDLE)
    @app.put(paths.BUNDLE + "/{digest}")
    async def put_bundle(request: Request, digest: str | None = None) -> Response:
        body = await request.body()
        await run_in_threadpool(registry.accept_bundle, _caller(request), digest, body)
        return Response(status_code=201)

    @app.put(paths.PLANNED)
    async def put_planned(request: Request) -> Response:
        await run_in_threadpool(registry.accept_planned, await request.body())
        return Response(status_code=204)

    @app.put(paths.GENERATION)
    async def put_generation(request: Request) -> Response:
        number = await run_in_threadpool(registry.accept_generation, await request.body())
        bell.ring()
        return JSONResponse({"generation": number}, 201)

    @app.get(paths.JOINS)
    async def joins() -> Response:
        return _list(await run_in_threadpool(registry.store.joins))

    @app.get(paths.REPORTS)
    async def reports() -> Response:
        return _list(await run_in_threadpool(registry.store.reports))

    # --- a member's ---------------------------------------------------------------------------

    @app.get(paths.PARTS + "/{node}")
    async def part(request: Request, node: str) -> Response:
        return _json(await run_in_threadpool(registry.part, _caller(request), node))

    @app.post(paths.REPORT)
    async def report(request: Request) -> Response:
        await run_in_threadpool(registry.accept_report, _caller(request), await request.body())
        return Response(status_code=204)

    @app.get(paths.API + "/nodes/{name}/config")
    async def config(name: str) -> Response:
        node, view = registry.node(name)
        own = _own(await run_in_threadpool(registry.any_part, node))
        return JSONResponse(
            {
                "node": node,
                "region": view.region,
                "generation": _number(registry),
                **view.description,
                "files": [
                    {
                        "path": f.path,
                        "mode": f"{f.mode:04o}",
                        "group": f.group,
                        "content": f.content,
                    }
                    for f in own.files
                ],
                "sealed": [file.path for file in own.sealed],
                "units": list(own.units),
            }
        )

    @app.get(paths.API + "/nodes/{name}/wireguard")
    async def wireguard(name: str) -> Response:
        node, view = registry.node(name)
        return JSONResponse({"node": node, "generation": _number(registry), **view.wireguard})

    @app.get(paths.API + "/nodes/{name}/cloud-init")
    async def cloud_init(name: str) -> Response:
        return PlainTextResponse(registry.node(name)[1].cloud_init, media_type="text/cloud-config")

    @app.get(paths.API + "/firewall/rules")
    async def firewall() -> Response:
        views = registry.views()
        return JSONResponse({"generation": _number(registry), **views.firewall})

    @app.post(paths.API + "/nodes/discover")
    async def discover(request: Request) -> Response:
        caller = _caller(request)
        node, region, addresses = registry.discover(caller, _asked(await request.body()))
        return JSONResponse({"node": node, "region": region, "addresses": addresses})

    @app.get(paths.API + "/status")
    async def status() -> Response:
        current, planned = registry.current(), registry.planned()
        return JSONResponse(
            {
                "status": "ok",
                "network": registry.network,
                "generation": _number(registry),
                "complete": current is not None and current.held.complete,
                "manifest_sha256": None if current is None else current.manifest_sha256,
                "retired": current is not None and current.manifest.retired,
                **{kind.key: _ordered(registry, kind) for kind in KINDS},
                "planned": 0 if planned is None else len(planned.nodes),
                "members": 0 if current is None else len(current.manifest.nodes),
                "uptime_seconds": round(time.monotonic() - born, 3),
                "rows": await run_in_threadpool(registry.store.counts),
            }
        )

    return app


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


def _asked(body: bytes) -> Address | None:
    """The address in a ``discover`` request; an empty body asks for the caller's own."""
    if not body:
        return None
    try:
        return parse(Asked, body).address
    except Malformed as error:
        raise Refused(400, str(error)) from None


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _list(texts: list[str]) -> Response:
    """Documents that are JSON already, as one array."""
    return _json("[" + ",".join(texts) + "]")
