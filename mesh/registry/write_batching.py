"""Sends all writes of one turn of the event loop together."""

from __future__ import annotations

import asyncio
from typing import Any

LARGE = 32 << 10
"""Bytes that are sent without waiting for more, so that the writer notices in time when the other
end does not read."""


class BatchingTransport(asyncio.Transport):
    """Wraps a transport. Uvicorn writes head and body of an answer separately: two TLS records in
    two packets, which wake the reader twice."""

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self._below = below
        self._written: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queues data until the end of this turn."""
        if not self._written:
            asyncio.get_running_loop().call_soon(self._send)
        self._written.append(bytes(data))
        self._size += len(data)
        if self._size >= LARGE:
            self._send()

    def _send(self) -> None:
        if self._written:
            data = b"".join(self._written)
            self._written.clear()
            self._size = 0
            self._below.write(data)

    def close(self) -> None:
        """Sends what was written, and closes."""
        self._send()
        self._below.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._below.is_closing()

    def pause_reading(self) -> None:
        """Reads no more for now."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        self._below.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the connection."""
        return self._below.get_extra_info(name, default)
