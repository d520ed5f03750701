"""Responses of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mesh.registry import paths
from mesh.registry.registry import Refused

PIECE = 64 << 10
"""Bytes of an answer per write."""


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


def json_text(text: str) -> Response:
    """A document that is JSON already."""
    return Response(text, media_type="application/json")


def json_array(texts: Sequence[str]) -> Response:
    """Documents that are JSON already, as one array."""
    return json_text("[" + ",".join(texts) + "]")


async def refused(_: Request, error: Exception) -> Response:
    """The answer to a request that the registry refuses."""
    assert isinstance(error, Refused)
    content: dict[str, Any] = {"error": error.reason}
    if error.nodes:
        content["nodes"] = list(error.nodes)
    return JSONResponse(content, error.status)


async def not_stored(_: Request, error: Exception) -> Response:
    """The answer to a request of which the disk takes nothing (RFC 4918, 11.5)."""
    return JSONResponse({"error": f"cannot be stored: {error}; {paths.MAKE_ROOM}"}, 507)


async def not_found(_: Request, error: Exception) -> Response:
    """The answer to a request that no route takes."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": "nothing is here"}, error.status_code)
