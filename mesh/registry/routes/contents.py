"""Contents of services, in chunks: from the operator, and to members."""

from __future__ import annotations

from collections import Counter

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mesh.registry import paths
from mesh.registry.known_networks import Signer
from mesh.registry.registry import Refused
from mesh.registry.routes.context import Context, caller_of
from mesh.registry.routes.responses import Pieced

PER_MEMBER, SENDING = 2, 32
"""Chunks that are sent at the same time: to one member, and to all."""


class _Sending:
    """Counts them by who gets them: a member has as many IPv6 addresses as it likes."""

    def __init__(self) -> None:
        self._now: Counter[Signer] = Counter()

    def enter(self, signer: Signer) -> bool:
        """Counts one more, unless a limit is reached."""
        if self._now[signer] >= PER_MEMBER or self._now.total() >= SENDING:
            return False
        self._now[signer] += 1
        return True

    def leave(self, signer: Signer) -> None:
        """Counts one less."""
        self._now[signer] -= 1
        if not self._now[signer]:
            del self._now[signer]


class _Chunk(Pieced):
    """A chunk, which counts as being sent until its reader has it."""

    def __init__(self, content: bytes, sending: _Sending, signer: Signer) -> None:
        super().__init__(content, media_type="application/octet-stream")
        self._sending, self._signer = sending, signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._sending.leave(self._signer)


def routes(context: Context) -> list[Route]:
    """Contents by their hashes."""
    registry, place = context.registry, paths.CONTENT + "/{digest}"
    sending = _Sending()

    async def content(request: Request) -> Response:
        held, complete = await run_in_threadpool(registry.content, request.path_params["digest"])
        return JSONResponse({"chunks": held, "complete": complete})

    async def put_content(request: Request) -> Response:
        await run_in_threadpool(registry.accept_content, request.path_params["digest"])
        return Response(status_code=201)

    async def chunk(request: Request) -> Response:
        digest, number = request.path_params["digest"], request.path_params["place"]
        caller = caller_of(request)
        assert caller.kind is not None, "the gate lets in nobody else"
        signer = (caller.kind, caller.id)
        if not sending.enter(signer):
            raise Refused(429, "too many chunks are being sent")
        try:
            content = await run_in_threadpool(registry.chunk, digest, int(number))
        except BaseException:
            sending.leave(signer)
            raise
        return _Chunk(content, sending, signer)

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
