"""Reports: nodes send theirs, the operator reads all."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mesh.registry import paths
from mesh.registry.routes.context import Context, caller_of
from mesh.registry.routes.responses import json_array, json_text


def routes(context: Context) -> list[Route]:
    """The reports of nodes."""
    registry = context.registry

    async def reports(_: Request) -> Response:
        return json_array(await run_in_threadpool(registry.store.reports))

    async def report(request: Request) -> Response:
        """Answers with the node's later report, if there is one. The node then numbers above it,
        which matters after its clock was ahead."""
        body = await request.body()
        later = await run_in_threadpool(registry.accept_report, caller_of(request), body)
        return Response(status_code=204) if later is None else json_text(later)

    return [
        Route(paths.REPORTS, reports),
        Route(paths.REPORT, report, methods=["POST"]),
    ]
