"""The operator's orders: one of each kind, relayed as signed."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mesh.registry import paths
from mesh.registry.routes.context import Context
from mesh.registry.routes.news import news_of
from mesh.registry.routes.responses import json_text
from mesh.trust.orders import KINDS, OrderKind


def routes(context: Context) -> list[Route]:
    """The orders of all kinds."""
    registry = context.registry

    def relay(kind: OrderKind[Any]) -> list[Route]:
        async def order(request: Request) -> Response:
            standing = registry.standing(kind)
            if standing is None or standing.order.number <= news_of(request).after:
                return Response(status_code=204)
            return json_text(standing.envelope)

        async def bring_order(request: Request) -> Response:
            fresh = await run_in_threadpool(registry.accept_order, kind, await request.body())
            if fresh:
                context.bell.ring()
            return Response(status_code=201 if fresh else 204)

        place = paths.order(kind.key)
        return [Route(place, order), Route(place, bring_order, methods=["PUT"])]

    return [route for kind in KINDS for route in relay(kind)]
