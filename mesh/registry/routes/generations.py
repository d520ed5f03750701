"""Generations: the manifest, the parts of nodes, and the bundle that nodes run."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mesh.registry import paths
from mesh.registry.known_networks import Priority
from mesh.registry.limits import ConcurrencyLimit
from mesh.registry.registry import Refused
from mesh.registry.routes.context import Context, caller_of
from mesh.registry.routes.news import news_of
from mesh.registry.routes.responses import Pieced
from mesh.trust.encoding import dump
from mesh.trust.orders import KINDS


def routes(context: Context) -> list[Route]:
    """Manifests, generations and parts."""
    registry = context.registry
    waiting_of = {standing: ConcurrencyLimit(16, 3000, standing.sources) for standing in Priority}

    async def manifest(request: Request) -> Response:
        """A long-poll ends without content when an order is higher than the request's: one
        connection waits for both."""
        asked = news_of(request)
        orders = [(kind, asked.order(kind)) for kind in KINDS]
        address = caller_of(request).address
        until = time.monotonic() + asked.wait
        waiting = waiting_of[context.connections.known.standing(address)]
        here = asked.wait > 0 and waiting.enter(address)
        try:
            while (
                here
                and context.number <= asked.after
                and all(n is None or context.ordered(kind) <= n for kind, n in orders)
                and time.monotonic() < until
            ):
                await context.bell.wait(until - time.monotonic())
        finally:
            if here:
                waiting.leave(address)
        current = registry.current()
        if current is None or current.manifest.generation <= asked.after:
            return Response(status_code=204)
        return await context.cached(current, "manifest", "", lambda: current.held.envelope.encode())

    async def bring_manifest(request: Request) -> Response:
        fresh = await run_in_threadpool(registry.accept_manifest, await request.body())
        if fresh:
            context.bell.ring()
        return Response(status_code=201 if fresh else 204)

    def generations(path: str, accept: Callable[[bytes], int]) -> Route:
        async def put_generation(request: Request) -> Response:
            number = await run_in_threadpool(accept, await request.body())
            context.bell.ring()
            return JSONResponse({"generation": number}, 201)

        return Route(path, put_generation, methods=["PUT"])

    async def packed(request: Request) -> Response:
        # Not cached: only the operator asks, once for each update.
        number: int = request.path_params["number"]
        body = await run_in_threadpool(lambda: dump(registry.packed(number)))
        return Pieced(body, media_type="application/json")

    async def part(request: Request) -> Response:
        node = request.path_params["node"]
        registry.check_part(caller_of(request), node)
        return await context.cached(
            registry.current(), "part", node, lambda: registry.part(node).encode()
        )

    return [
        Route(paths.MANIFEST, manifest),
        Route(paths.MANIFEST, bring_manifest, methods=["PUT"]),
        generations(paths.GENERATION, registry.accept_generation),
        generations(paths.PACKED, registry.accept_packed),
        Route(paths.PACKED + "/{number:int}", packed),
        Route(paths.PARTS + "/{node}", part),
    ]


def bundle_routes(context: Context) -> list[Route]:
    """The bundle, by its hash."""
    registry = context.registry

    async def bundle(request: Request) -> Response:
        digest = request.path_params["digest"]
        content = registry.held_bundle(digest) or await run_in_threadpool(registry.bundle, digest)
        if content is None:
            raise Refused(404, "no such bundle")
        return Pieced(content, media_type="application/zip")

    async def put_bundle(request: Request) -> Response:
        body, digest = await request.body(), request.path_params.get("digest")
        await run_in_threadpool(registry.accept_bundle, caller_of(request), digest, body)
        return Response(status_code=201)

    return [
        Route(paths.BUNDLE + "/{digest}", bundle),
        Route(paths.BUNDLE, put_bundle, methods=["PUT"]),
        Route(paths.BUNDLE + "/{digest}", put_bundle, methods=["PUT"]),
    ]
