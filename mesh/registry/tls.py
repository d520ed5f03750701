"""TLS for a registry's connections: nothing is spent on one before it has a place, and each step
of it ends in time."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from mesh.registry.connections import Connections, Slot
from mesh.registry.registry import parsed_address
from mesh.registry.write_batching import BatchingTransport

HANDSHAKE = 5.0
"""Seconds for the handshake, and for the farewell at a connection's end."""
HEAD = 10.0
"""Seconds from the handshake to the end of the first request's head."""
EXCHANGE = 120.0
"""Seconds for a request and its answer: longer than a long-poll and than the time that a body may
take."""
IDLE = 75
"""Seconds from the end of an answer to the end of the next request's head."""
RECORD = 16 << 10
"""Bytes that are read at once: a TLS record. asyncio has 256 KiB for every connection, from before
its handshake on."""
UNREAD = 64 << 10
"""Bytes of an answer that wait for a caller who does not read, in either half of TLS; and bytes of
requests that wait for us."""


class Accepted(asyncio.Protocol):
    """A connection that has just been accepted. ``given`` is what uvicorn gives its protocols,
    which learns of no certificate: it would begin a handshake with whoever comes, and wait a minute
    for its end."""

    def __init__(self, connections: Connections, context: ssl.SSLContext, **given: Any) -> None:
        self._connections, self._context, self._given = connections, context, given

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ends it at once, or begins its handshake."""
        assert isinstance(transport, asyncio.Transport)
        host, port = transport.get_extra_info("peername")[:2]
        place = self._connections.enter(parsed_address(host), port, transport.abort)
        if place is None:
            transport.abort()
            return
        # Nobody reads until TLS does.
        transport.pause_reading()
        http = Guarded(self._connections, place, **self._given)
        self._handshake = asyncio.ensure_future(_secure(transport, http, self._context))


async def _secure(transport: asyncio.Transport, http: Guarded, context: ssl.SSLContext) -> None:
    sslproto.SSLProtocol.max_size = RECORD
    try:
        made = await asyncio.get_running_loop().start_tls(
            transport,
            http,
            context,
            server_side=True,
            ssl_handshake_timeout=HANDSHAKE,
            ssl_shutdown_timeout=HANDSHAKE,
        )
    except OSError:  # ssl.SSLError is one, and so is what a late handshake ends with
        made = None
    if made is None:
        transport.abort()
        http.leave()
    else:
        transport.set_write_buffer_limits(UNREAD)
        made.set_write_buffer_limits(UNREAD)
        made.set_read_buffer_limits(UNREAD)  # type: ignore[attr-defined]  # not of every transport
        http.begin(made)


class Guarded(H11Protocol):
    """Uvicorn's HTTP on a connection that has a place, and ends where it comes to no end: by
    itself it keeps one for ever on which no request comes, or no answer is read."""

    def __init__(self, connections: Connections, place: Slot, **given: Any) -> None:
        super().__init__(**given)
        self._connections = connections
        self._place: Slot | None = place
        self._end: asyncio.TimerHandle | None = None
        self._begun = False
        self._early = b""

    def begin(self, transport: asyncio.Transport) -> None:
        """The handshake is over."""
        if self._place is None:
            return
        self._begun = True
        self.connection_made(BatchingTransport(transport))
        self._within(HEAD)
        if self.client is None:
            # Who has gone already is asked for by uvicorn in vain.
            self.client = (str(self._place.address), 0)
        early, self._early = self._early, b""
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """As ever. What came in one packet with the end of the handshake waits for ``begin``."""
        if not self._begun:
            self._early += data
            return
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._within(EXCHANGE)

    def on_response_complete(self) -> None:
        """As ever. The next request may be here already."""
        super().on_response_complete()
        self._within(IDLE if self.cycle.response_complete else EXCHANGE)

    def connection_lost(self, exc: Exception | None) -> None:
        """As ever."""
        if self._begun:
            super().connection_lost(exc)
        self.leave()

    def leave(self) -> None:
        """Gives the place back."""
        if self._end is not None:
            self._end.cancel()
        if self._place is not None:
            self._connections.leave(self._place)
        self._place = None

    def _within(self, seconds: float) -> None:
        if self._end is not None:
            self._end.cancel()
        self._end = self.loop.call_later(seconds, self.transport.abort)
