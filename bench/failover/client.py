"""A client on the Internet that asks a service over and over: who answers, and when."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mesh.netns import inside

EVERY = 0.004
"""Seconds between two probes of a family."""
TIMEOUT = 1.0
UNUSED = 20_000
"""Source ports from here on are in no TIME_WAIT anywhere: a segment to one would not be reset."""
RATE = 50
"""Probes a second where losses are counted."""
STEADY = 10
"""Answers in a row that show who serves."""


@dataclass(frozen=True)
class Client:
    """A client in a namespace; ``addresses`` are the service's by family."""

    namespace: str
    addresses: Mapping[str, str]

    def served_by(self, name: str, longest: float = 120.0) -> None:
        """Waits until only this place answers, in both families."""
        self._run(self._served_by(name, longest))

    def moved(self, home: str, act: Callable[[], None], longest: float) -> dict[str, float]:
        """Seconds from ``act`` until another place than ``home`` answers, by family; ``longest``
        where none does."""
        found: dict[str, float] = self._run(self._moved(home, act, longest))
        return found

    def lost(self, seconds: float, ports: range) -> tuple[int, int]:
        """Asks fifty times a second in each family from new source ports, and as often from these
        in turn: how many of either get no answer."""

        async def both() -> tuple[int, int]:
            return await asyncio.gather(self._lost(seconds, None), self._lost(seconds, ports))

        found: tuple[int, int] = self._run(both())
        return found

    def reset(self, count: int, move: Callable[[], None], longest: float) -> list[float]:
        """Holds that many connections of each family open over a move, and then sends on them:
        seconds until each is closed, ``longest`` where it stays silent."""
        found: list[float] = self._run(self._reset(count, move, longest))
        return found

    def _run(self, work: Any) -> Any:
        return inside(self.namespace, lambda: asyncio.run(work))

    async def _served_by(self, name: str, longest: float) -> None:
        end = time.monotonic() + longest
        for family, address in self.addresses.items():
            streak, answer = 0, ""
            while streak < STEADY:
                if time.monotonic() > end:
                    raise SystemExit(f"{family}: {name} does not serve, but {answer or 'nobody'}")
                answer = await ask(address)
                streak = streak + 1 if answer == name else 0
                await asyncio.sleep(0.02)

    async def _moved(self, home: str, act: Callable[[], None], longest: float) -> dict[str, float]:
        found: dict[str, float] = {}
        began: list[float] = []

        async def probe(family: str, address: str) -> None:
            answer = await ask(address)
            if began and answer not in ("", home):
                found.setdefault(family, time.monotonic() - began[0])

        running: set[asyncio.Task[None]] = set()
        start = time.monotonic()
        for turn in itertools.count():
            now = time.monotonic()
            if not began and now - start > 0.1:
                began.append(now)
                act()
            if len(found) == len(self.addresses) or (began and now - began[0] > longest):
                break
            for family, address in self.addresses.items():
                task = asyncio.create_task(probe(family, address))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(max(0.0, start + (turn + 1) * EVERY - time.monotonic()))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return {family: found.get(family, longest) for family in self.addresses}

    async def _lost(self, seconds: float, ports: range | None) -> int:
        sources: Iterator[int] = itertools.cycle(ports or (0,))
        begin, tasks = time.monotonic(), []
        for turn in range(round(seconds * RATE)):
            source = next(sources)
            tasks += [
                asyncio.create_task(ask(address, source)) for address in self.addresses.values()
            ]
            await asyncio.sleep(max(0.0, begin + (turn + 1) / RATE - time.monotonic()))
        return (await asyncio.gather(*tasks)).count("")

    async def _reset(self, count: int, move: Callable[[], None], longest: float) -> list[float]:
        loop = asyncio.get_running_loop()
        opened = [
            await _connected(address, "/hold", source)
            for address in self.addresses.values()
            for source in range(UNUSED, UNUSED + count)
        ]
        for one in opened:
            await loop.sock_recv(one, 1000)
        await asyncio.to_thread(move)

        async def silence(one: socket.socket) -> float:
            began = time.monotonic()
            with contextlib.suppress(OSError):
                async with asyncio.timeout(longest):
                    closed = asyncio.create_task(_ended(one))
                    while not closed.done():
                        await loop.sock_sendall(one, b"x")
                        await asyncio.wait([closed], timeout=0.01)
            return min(longest, time.monotonic() - began)

        found = await asyncio.gather(*map(silence, opened))
        for one in opened:
            one.close()
        return list(found)


async def ask(address: str, source: int = 0) -> str:
    """Who answers; empty where nobody does in time."""
    loop = asyncio.get_running_loop()
    text = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(TIMEOUT):
            with await _connected(address, "/", source) as connection:
                while piece := await loop.sock_recv(connection, 1000):
                    text += piece
    return text.rpartition(b"\n")[2].decode()


async def _connected(address: str, path: str, source: int = 0) -> socket.socket:
    """A connection that has asked for this path."""
    loop = asyncio.get_running_loop()
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source:
            one.bind(("", source))
        await loop.sock_connect(one, (address, 80))
        await loop.sock_sendall(one, f"GET {path} HTTP/1.0\r\n\r\n".encode())
    except BaseException:
        one.close()
        raise
    return one


async def _ended(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await asyncio.get_running_loop().sock_recv(one, 1000):
            pass
