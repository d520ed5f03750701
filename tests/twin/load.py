"""Clients of services while something is changed: probes each 10 ms, downloads of 200 kB, 50 in a
second. What each lost is there at the end."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address

from mesh import netns
from mesh.lab.lab_files import files_of
from mesh.lab.probe import ProbeReport, probe
from mesh.lab.questions import Question
from tests.kit.wait import PATIENCE, patience

EACH = 0.02
"""Seconds between two downloads."""
LONGEST = 600.0
"""Seconds until the load ends by itself."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks an address each 10 ms."""

    client: str
    address: str
    question: Question


@dataclass
class Load:
    """Reports of the probes; downloads by the SHA-256 of what came, or by why nothing did."""

    reports: dict[Asked, ProbeReport] = field(default_factory=dict)
    downloads: Counter[str] = field(default_factory=Counter)

    def lost(self, whole: Collection[bytes]) -> list[str]:
        """What was not answered, and what came that is none of these files."""
        found = [
            f"{asked}: {report}"
            for asked, report in self.reports.items()
            if report.answered < report.sent or not report.sent
        ]
        good = {sha256(content).hexdigest() for content in whole}
        return found + [f"{n} x {what}" for what, n in self.downloads.items() if what not in good]


@contextmanager
def load(lab: str, probes: Collection[Asked], client: str, file: tuple[str, str]) -> Iterator[Load]:
    """Ask all of these until the end, and download a file, by its server's address and path."""
    over, found = threading.Event(), Load()

    def ask(one: Asked) -> None:
        found.reports[one] = probe(
            lab, one.client, ip_address(one.address), one.question, duration=LONGEST, stop=over
        )

    def fetch() -> None:
        space = files_of(lab).namespace(client)
        netns.inside(space, lambda: asyncio.run(_downloads(*file, found.downloads, over)))

    threads = [threading.Thread(target=ask, args=(one,), daemon=True) for one in probes]
    threads.append(threading.Thread(target=fetch, daemon=True))
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE)


async def _downloads(address: str, path: str, found: Counter[str], over: threading.Event) -> None:
    async def one() -> None:
        try:
            async with asyncio.timeout(patience(5)):
                found[sha256(await _body(address, path)).hexdigest()] += 1
        except (OSError, TimeoutError) as error:
            found[f"{type(error).__name__}: {error}"] += 1

    running: set[asyncio.Task[None]] = set()
    while not over.is_set():
        task = asyncio.create_task(one())
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(EACH)
    await asyncio.gather(*running)


async def _body(address: str, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(address, 80)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\nHost: [{address}]\r\n\r\n".encode())
        answer = await reader.read(-1)
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return body if b" 200 " in head.split(b"\r\n")[0] else head
