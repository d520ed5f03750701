"""Joining: who is planned, who asks to join, and who was refused by address."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mesh.registry import paths
from mesh.registry.registry import Refused
from mesh.registry.routes.context import Context, caller_of
from mesh.registry.routes.responses import json_array
from mesh.trust.encoding import dump


def routes(context: Context) -> list[Route]:
    """Planned nodes and requests to join."""
    registry = context.registry

    async def join(request: Request) -> Response:
        await run_in_threadpool(registry.accept_join, caller_of(request), await request.body())
        return Response(status_code=202)

    async def put_planned(request: Request) -> Response:
        await run_in_threadpool(registry.accept_planned, await request.body())
        return Response(status_code=204)

    async def planned(request: Request) -> Response:
        """The addresses of planned nodes, for the firewall of a registry's node, which at first
        only has a token and asks over lo. Elsewhere a token does not permit this."""
        caller = caller_of(request)
        if caller.kind == "token" and not caller.address.is_loopback:
            raise Refused(401, "a member's identity is needed")
        return JSONResponse([str(one) for one in sorted(registry.addresses(), key=str)])

    async def refused_join(request: Request) -> Response:
        registry.note_refused_join(caller_of(request), await request.body())
        return Response(status_code=202)

    async def refused_joins(_: Request) -> Response:
        return json_array([dump(one).decode() for one in registry.refused_joins()])

    async def joins(_: Request) -> Response:
        return json_array(await run_in_threadpool(registry.store.joins))

    return [
        Route(paths.JOIN, join, methods=["POST"]),
        Route(paths.PLANNED, planned),
        Route(paths.PLANNED, put_planned, methods=["PUT"]),
        Route(paths.JOINS, joins),
        Route(paths.REFUSED_JOINS, refused_joins),
        Route(paths.REFUSED_JOINS, refused_join, methods=["POST"]),
    ]
