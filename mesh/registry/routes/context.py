"""What the routes share: the registry, the cache of its answers, and the long-polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from mesh.registry.cached_answers import Answers
from mesh.registry.connections import Connections
from mesh.registry.registry import Caller, Current, Registry
from mesh.registry.routes.responses import Pieced
from mesh.trust.orders import OrderKind


class Bell:
    """Wakes the long-polls when there is something new."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wakes all waiting requests."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Waits until the next ring, or so many seconds."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return


class Context:
    """The registry as the routes see it."""

    def __init__(self, registry: Registry, connections: Connections) -> None:
        self.registry, self.connections = registry, connections
        self.bell = Bell()
        self._answers = Answers()

    @property
    def number(self) -> int:
        """The generation that is held; 0 before there is one."""
        current = self.registry.current()
        return 0 if current is None else current.manifest.generation

    def ordered(self, kind: OrderKind[Any]) -> int:
        """The number of the order of that kind; 0 before there is one."""
        standing = self.registry.standing(kind)
        return 0 if standing is None else standing.order.number

    async def cached(
        self, current: Current | None, kind: str, name: str, make: Callable[[], bytes]
    ) -> Response:
        """An answer that is the same until the next generation; ``current`` is the one of now."""
        digest = "" if current is None else current.manifest_sha256
        body = self._answers.get(digest, kind, name)
        if body is None:
            body = await run_in_threadpool(make)
            # Else it may be of the next one, or of both.
            if self.registry.current() is current:
                self._answers.put(digest, kind, name, body)
        return Pieced(body, media_type="application/json")


def caller_of(request: Request) -> Caller:
    """Who asks, as the gate has found out."""
    caller: Caller = request.state.caller
    return caller
