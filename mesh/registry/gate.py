"""The gate in front of the API: who may pass is decided here, once, and closed by default.

A path that the table does not name as open needs a valid signature, even if nothing is there.
Neither headers nor addresses that a client states count; the socket's peer does, for rates and for
planned addresses.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Literal

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mesh.rates import Rate, Sources
from mesh.registry import paths
from mesh.registry.connections import Connections
from mesh.registry.known_networks import Priority
from mesh.registry.limits import ConcurrencyLimit
from mesh.registry.registry import Address, Caller, Refused, Registry, parsed_address
from mesh.trust.encoding import sha256
from mesh.trust.requests import Claim, Nonces

Who = Literal["anyone", "operator", "member", "candidate"]
BODY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One kind of request: who may make it, and how large its body may be.

    ``member`` includes the operator; ``candidate`` includes both and a node with its token.
    """

    method: str
    path: re.Pattern[str]
    who: Who
    body: int = 0


def _door(method: str, path: str, who: Who, body: int = 0) -> RouteRule:
    return RouteRule(method, re.compile(path), who, body)


_HASH, _ID, _PLACE = r"[0-9a-f]{64}", r"[a-z0-9-]{1,32}", r"[0-9]{1,2}"
_NUMBER = r"[1-9][0-9]{0,15}"
DOORS = (
    _door("GET", paths.HEALTH, "anyone"),
    _door("GET", paths.NONCE, "anyone"),
    _door("GET", paths.MANIFEST, "anyone"),
    _door("PUT", paths.MANIFEST, "anyone", paths.MAX_MANIFEST),
    _door("GET", paths.DRAIN, "anyone"),
    _door("PUT", paths.DRAIN, "anyone", paths.MAX_SMALL),
    # Reasons are free text, and not for others.
    _door("GET", paths.BLACKHOLE, "member"),
    _door("PUT", paths.BLACKHOLE, "anyone", paths.MAX_SMALL),
    _door("GET", paths.HOLD, "member"),
    _door("PUT", paths.HOLD, "anyone", paths.MAX_SMALL),
    _door("GET", paths.ROLLOUT, "member"),
    _door("PUT", paths.ROLLOUT, "anyone", paths.MAX_ROLLOUT),
    _door("GET", f"{paths.BUNDLE}/{_HASH}", "anyone"),
    _door("HEAD", f"{paths.BUNDLE}/{_HASH}", "anyone"),
    _door("POST", paths.JOIN, "anyone", paths.MAX_SMALL),
    _door("PUT", f"{paths.BUNDLE}(/{_HASH})?", "operator", paths.MAX_BUNDLE),
    _door("PUT", paths.PLANNED, "operator", paths.MAX_MANIFEST),
    _door("GET", paths.PLANNED, "candidate"),
    _door("PUT", paths.GENERATION, "operator", paths.MAX_GENERATION),
    _door("PUT", paths.PACKED, "operator", paths.MAX_GENERATION),
    _door("GET", f"{paths.PACKED}/{_NUMBER}", "operator"),
    _door("GET", paths.JOINS, "operator"),
    _door("GET", paths.REFUSED_JOINS, "operator"),
    _door("POST", paths.REFUSED_JOINS, "candidate", paths.MAX_SMALL),
    _door("GET", paths.REPORTS, "operator"),
    _door("GET", f"{paths.PARTS}/{_ID}", "member"),
    _door("GET", f"{paths.CONTENT}/{_HASH}", "member"),
    _door("PUT", f"{paths.CONTENT}/{_HASH}", "operator"),
    _door("GET", f"{paths.CONTENT}/{_HASH}/{_PLACE}", "member"),
    _door("PUT", f"{paths.CONTENT}/{_HASH}/{_PLACE}", "operator", paths.CHUNK),
    _door("POST", paths.REPORT, "member", paths.MAX_SMALL),
    _door("GET", f"{paths.API}/nodes/{_ID}/(config|wireguard|cloud-init)", "member"),
    _door("GET", f"{paths.API}/firewall/rules", "member"),
    _door("GET", f"{paths.API}/status", "member"),
    _door("POST", f"{paths.API}/nodes/discover", "candidate", paths.MAX_SMALL),
)
_ADMITTED: dict[Who, frozenset[str]] = {
    "operator": frozenset({"operator"}),
    "member": frozenset({"operator", "node"}),
    "candidate": frozenset({"operator", "node", "token"}),
}


class _Bounds:
    """Limits of requests without a signature, by source address."""

    def __init__(self, of: Sources) -> None:
        # Per source: a node polls, fetches and reports a few times a second when it is new.
        self.requests = Rate(rate=30, burst=120, of=of)
        self.joins = Rate(rate=2, burst=20, of=of)
        # Bodies held for them, a megabyte each.
        self.large = ConcurrencyLimit(per_source=2, total=32, of=of)


class Gate:
    """ASGI middleware: rates, authentication, sizes; hands the verified caller and the whole body
    on in ``scope["state"]``."""

    def __init__(
        self, app: ASGIApp, registry: Registry, nonces: Nonces, connections: Connections
    ) -> None:
        self._app, self._registry, self._nonces = app, registry, nonces
        self._connections = connections
        self._bounds = {standing: _Bounds(standing.sources) for standing in Priority}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        send = self._with_nonce(send)
        try:
            caller, body = await self._admitted(scope, receive)
        except Refused as refused:
            # Otherwise the unread rest of the body would be parsed as the next request.
            headers = {"connection": "close"}
            if refused.status == 401:
                headers["www-authenticate"] = "Mesh"
            answer = JSONResponse({"error": refused.reason}, refused.status, headers)
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, _replay(body, receive), send)

    async def _admitted(self, scope: Scope, receive: Receive) -> tuple[Caller, bytes]:
        address = parsed_address(scope["client"][0])
        door = _found(scope["method"], scope["path"])
        headers = Headers(scope=scope)
        bounds = self._bounds[self._connections.known.standing(address)]
        if door is not None and door.who == "anyone":
            if not bounds.requests.allows(address):
                raise Refused(429, "too many requests")
            if scope["path"] == paths.JOIN and not bounds.joins.allows(address):
                raise Refused(429, "too many requests to join")
            body = await _unsigned(door, bounds.large, address, headers, receive)
            return Caller(None, "", address), body
        claim = self._claim(headers, scope)
        if claim is None:
            if not bounds.requests.allows(address):
                raise Refused(429, "too many requests")
            raise Refused(401, "a signed request is needed")
        self._connections.signed((claim.kind, claim.id), address, scope["client"][1])
        if door is None:
            raise Refused(404, "nothing is here")
        if claim.kind not in _ADMITTED[door.who]:
            # A token only permits to ask which node it is of.
            raise Refused(
                *(
                    (401, "a member's identity is needed")
                    if claim.kind == "token"
                    else (403, "not for this caller")
                )
            )
        body = await _read(headers, receive, door.body)
        if sha256(body) != claim.sha256:
            raise Refused(401, "the body is not the one that was signed")
        return Caller(claim.kind, claim.id, address), body

    def _claim(self, headers: Headers, scope: Scope) -> Claim | None:
        """The verified claim of the caller; its nonce is used up."""
        stated = headers.getlist("authorization")
        claim = Claim.parsed(stated[0]) if len(stated) == 1 else None
        if claim is None or not self._nonces.valid(claim.nonce):
            return None
        key = self._registry.key(claim.kind, claim.id)
        if key is None or not claim.holds(key, scope["method"], _target(scope)):
            return None
        return claim if self._nonces.spend(claim.nonce, (claim.kind, claim.id)) else None

    def _with_nonce(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (paths.NONCE_HEADER.encode(), self._nonces.fresh().encode()),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        return sending


async def _unsigned(
    door: RouteRule, large: ConcurrencyLimit, address: Address, headers: Headers, receive: Receive
) -> bytes:
    """The body of an unsigned request."""
    if door.body <= paths.MAX_SMALL:
        return await _read(headers, receive, door.body)
    if not large.enter(address):
        raise Refused(429, "too many large requests at the same time")
    try:
        return await _read(headers, receive, door.body)
    finally:
        large.leave(address)


def _found(method: str, path: str) -> RouteRule | None:
    return next((d for d in DOORS if d.method == method and d.path.fullmatch(path)), None)


def _target(scope: Scope) -> str:
    """Path and query as they were sent, which is what was signed."""
    raw: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


async def _read(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The body, if its stated size is within the limit; nothing is read before that is known."""
    stated = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        raise Refused(411, "state the length of the body")
    if not (stated.isascii() and stated.isdigit()):
        raise Refused(400, "the length of the body is no number")
    if len(stated) > 12 or int(stated) > limit:
        raise Refused(413, f"the body is larger than {limit} bytes")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _all(receive, limit)
    except TimeoutError:
        raise Refused(408, "the body does not come") from None


async def _all(receive: Receive, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "the client has gone")
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise Refused(413, f"the body is larger than {limit} bytes")
        pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Gives the body that has been read once more, then waits for the client to go. It is not kept:
    what the framework leaves of a request is freed with the next garbage collection only."""
    held = [body]

    async def replaying() -> Message:
        if not held:
            return await receive()
        return {"type": "http.request", "body": held.pop(), "more_body": False}

    return replaying
