"""The daemon that dies and hangs: ``python3 daemon.py NAME LOSE`` answers each request on port 80
of both families with its name.

``/hold`` is answered, and the connection stays open. Where the file LOSE exists, the next request
for ``/check`` removes it, and is not answered. Standard library only: it runs on nodes.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress
from pathlib import Path


async def main(name: str, lose: Path) -> None:
    """Runs until it is killed."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            words = (await reader.readuntil(b"\r\n\r\n")).split()
            path = words[1] if len(words) > 1 else b""
            if path == b"/check" and lose.exists():
                lose.unlink()
                await reader.read()
            elif words:
                head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(name)}\r\n\r\n"
                writer.write(f"{head}{name}".encode())
                await writer.drain()
                if path == b"/hold":
                    await reader.read()
            writer.close()

    await asyncio.start_server(answer, sock=_wildcard(), backlog=1024)
    await asyncio.Event().wait()


def _wildcard() -> socket.socket:
    return socket.create_server(
        ("::", 80), family=socket.AF_INET6, dualstack_ipv6=True, reuse_port=False
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
