"""The registry's own state."""

from __future__ import annotations

import time

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mesh.registry import paths
from mesh.registry.routes.context import Context
from mesh.trust.orders import KINDS

TAKES = (paths.PACKED, paths.CONTENT)
"""Paths of the operator that earlier versions do not have."""


def routes(context: Context) -> list[Route]:
    """Health, nonces, and what is held."""
    registry = context.registry
    born = time.monotonic()

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def nonce(_: Request) -> Response:
        return Response(status_code=204)

    async def status(_: Request) -> Response:
        current, planned = registry.current(), registry.planned()
        lacking = await run_in_threadpool(registry.lacking)
        return JSONResponse(
            {
                "status": "ok",
                "network": registry.network,
                "takes": list(TAKES),
                "generation": context.number,
                "complete": current is not None and current.held.complete and not lacking,
                "manifest_sha256": None if current is None else current.manifest_sha256,
                "retired": current is not None and current.manifest.retired,
                **{kind.key: context.ordered(kind) for kind in KINDS},
                "planned": 0 if planned is None else len(planned.nodes),
                "members": 0 if current is None else len(current.manifest.nodes),
                "refuses": registry.store.refuses,
                "uptime_seconds": round(time.monotonic() - born, 3),
                "rows": registry.store.counted or await run_in_threadpool(registry.store.counts),
            }
        )

    return [
        Route(paths.HEALTH, health),
        Route(paths.NONCE, nonce),
        Route(paths.API + "/status", status),
    ]
