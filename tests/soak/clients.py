"""Clients of every city that ask every service all the while, and how long they had no answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mesh import netns
from mesh.lab.lab_files import LabFiles
from mesh.lab.underlay import World
from mesh.plan import Plan
from mesh.plan.model import Address

EVERY = 0.2
PATIENCE = 0.9
"""Seconds for one answer: below a second, when TCP asks again."""
PORT = 80


@dataclass(slots=True)
class Asker:
    """One client that asks one address. ``since`` is when the question was sent that was answered
    last, and ``silent`` seconds from there to the last one that was not, 0 where there is none."""

    client: str
    service: str
    address: Address
    by: str = ""
    since: float = field(default_factory=time.monotonic)
    silent: float = 0.0
    longest: float = 0.0
    sent: int = 0
    lost: int = 0

    def ask(self) -> None:
        """Send one question and take note of the answer."""
        sent = time.monotonic()
        by = whoami(self.address)
        self.sent += 1
        if by:
            # What was lost before, until this question was sent.
            self.longest = max(self.longest, sent - self.since if self.silent else 0.0)
            self.by, self.since, self.silent = by, sent, 0.0
        else:
            self.lost += 1
            self.silent = sent - self.since
            self.longest = max(self.longest, self.silent)

    def begin(self) -> None:
        """What has not been answered before counts no more."""
        self.since, self.silent, self.longest = time.monotonic(), 0.0, 0.0

    def __str__(self) -> str:
        return f"{self.client} at {self.service} {self.address}"


def whoami(address: Address) -> str:
    """Who answers at an address, from the namespace that one is in; empty where nobody does."""
    host = f"[{address}]" if address.version == 6 else str(address)
    request = f"GET /whoami HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    end = time.monotonic() + PATIENCE
    answer = b""
    try:
        with socket.create_connection((str(address), PORT), timeout=PATIENCE) as line:
            line.sendall(request)
            while part := line.recv(4096):
                answer += part
                line.settimeout(max(0.01, end - time.monotonic()))
    except OSError:
        return ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return body.decode(errors="replace").strip() if b" 200 " in head.split(b"\r\n")[0] else ""


@contextmanager
def asking(here: LabFiles, world: World, plan: Plan) -> Iterator[tuple[Asker, ...]]:
    """Every client asks every service over each family, until the end."""
    askers = tuple(
        Asker(client.box, service.name, address)
        for client in world.clients
        for service in plan.services
        for address in service.addresses.both()
    )
    over = threading.Event()
    threads = [
        threading.Thread(target=_go_on, args=(here, asker, over), daemon=True) for asker in askers
    ]
    for thread in threads:
        thread.start()
    try:
        yield askers
    finally:
        over.set()
        for thread in threads:
            thread.join(10)


def _go_on(here: LabFiles, asker: Asker, over: threading.Event) -> None:
    def ask() -> None:
        while not over.wait(EVERY):
            asker.ask()

    netns.inside(here.namespace(asker.client), ask)
