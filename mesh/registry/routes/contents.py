"""Contents of services, in chunks: from the operator, and to members."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mesh.registry import paths
from mesh.registry.limits import ConcurrencyLimit, alone
from mesh.registry.registry import Address, Refused
from mesh.registry.routes.context import Context, caller_of
from mesh.registry.routes.responses import Pieced

PER_MEMBER, SENDING = 2, 32
"""Chunks that are sent at the same time: to one address, and to all."""


class _Chunk(Pieced):
    """A chunk, which counts as being sent until its reader has it."""

    def __init__(self, content: bytes, sending: ConcurrencyLimit, address: Address) -> None:
        super().__init__(content, media_type="application/octet-stream")
        self._sending, self._address = sending, address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sending.leave(self._address)


def routes(context: Context) -> list[Route]:
    """Contents by their hashes."""
    registry, place = context.registry, paths.CONTENT + "/{digest}"
    sending = ConcurrencyLimit(PER_MEMBER, SENDING, alone)

    async def content(request: Request) -> Response:
        held, complete = await run_in_threadpool(registry.content, request.path_params["digest"])
        return JSONResponse({"chunks": held, "complete": complete})

    async def put_content(request: Request) -> Response:
        await run_in_threadpool(registry.accept_content, request.path_params["digest"])
        return Response(status_code=201)

    async def chunk(request: Request) -> Response:
        digest, number = request.path_params["digest"], request.path_params["place"]
        address = caller_of(request).address
        if not sending.enter(address):
            raise Refused(429, "too many chunks are being sent")
        try:
            content = await run_in_threadpool(registry.chunk, digest, int(number))
        except BaseException:
            sending.leave(address)
            raise
        return _Chunk(content, sending, address)

    async def put_chunk(request: Request) -> Response:
        digest, number = request.path_params["digest"], request.path_params["place"]
        # Not request.body(), which keeps it.
        body = b"".join([piece async for piece in request.stream()])
        await run_in_threadpool(registry.accept_chunk, digest, int(number), body)
        return Response(status_code=204)

    return [
        Route(place, content),
        Route(place, put_content, methods=["PUT"]),
        Route(place + "/{place}", chunk),
        Route(place + "/{place}", put_chunk, methods=["PUT"]),
    ]
