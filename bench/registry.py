"""A registry as nodes run it: what signed reads cost, and what half-open connections do to it."""

from __future__ import annotations

import json
import os
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mesh import netns
from mesh.agent import bundle, file_paths
from mesh.lab import namespaces
from mesh.registry import paths
from mesh.registry.client import Client
from mesh.trust.encoding import dump
from mesh.trust.keys import signing_public
from mesh.trust.requests import Signer
from tests.kit.machine import Debian
from tests.kit.namespaces import spaces
from tests.kit.registry import Fleet, certify
from tests.kit.wait import until

NODE, PORT = "lax-vultr-1", 8443
READS = (f"{paths.PARTS}/{NODE}", f"{paths.API}/status")
CONNECTIONS, EACH = 8, 250
HALF = 500
"""Requests per second at which the slowest are looked at."""
STRANGERS, OF_ONE = 2000, 16


@dataclass(frozen=True)
class Served:
    """A registry with a generation of five nodes, in a network namespace of its own."""

    namespace: str
    pid: int
    fleet: Fleet

    def line(self, source: str = "") -> socket.socket:
        """A connection over TCP."""
        where = ("127.0.0.1", PORT)
        own = (source, 0) if source else None
        return netns.inside(
            self.namespace, lambda: socket.create_connection(where, 10, source_address=own)
        )

    def listens(self) -> bool:
        """Whether somebody who calls is let in."""
        with suppress(OSError):
            self.line().close()
            return True
        return False

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MiB that it has in memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def figures() -> Iterator[tuple[str, float, str]]:
    """Name, value and unit of each figure."""
    with tempfile.TemporaryDirectory() as scratch, served(Path(scratch)) as one:
        yield "registry: memory, idle", one.memory(), "MiB"
        for target in READS:
            yield from _reads(one, target)
        yield from _strangers(one)


def _reads(one: Served, target: str) -> Iterator[tuple[str, float, str]]:
    name = f"registry: signed GET {target}"
    _asked(one, target, CONNECTIONS, EACH // 10)
    before = one.cpu()
    count = len(_asked(one, target, CONNECTIONS, EACH))
    yield f"{name}, CPU each", (one.cpu() - before) / count * 1000, "ms"
    alone = _asked(one, target, 1, EACH)
    yield f"{name}, alone, half within", alone[len(alone) // 2] * 1000, "ms"
    paced = _asked(one, target, CONNECTIONS, EACH, HALF / CONNECTIONS)
    yield f"{name}, at {HALF}/s, 99 % within", paced[len(paced) * 99 // 100] * 1000, "ms"


def _asked(one: Served, target: str, connections: int, each: int, pace: float = 0.0) -> list[float]:
    """Seconds of each request, sorted, of so many connections at once: one after the other, or at
    most ``pace`` in a second."""
    signer = one.fleet.node(NODE)

    def work(_: int) -> list[float]:
        took: list[float] = []
        with Reader(one.line(), signer) as reader:
            began = time.perf_counter()
            for number in range(each):
                if pace:
                    time.sleep(max(0.0, began + number / pace - time.perf_counter()))
                start = time.perf_counter()
                reader.read(target)
                took.append(time.perf_counter() - start)
        return took

    with ThreadPoolExecutor(connections) as pool:
        return sorted(seconds for took in pool.map(work, range(connections)) for seconds in took)


class Reader:
    """A client that costs less than the registry: what it measures is not itself."""

    def __init__(self, line: socket.socket, signer: Signer) -> None:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._line = context.wrap_socket(line)
        self._signer = signer
        self._nonce = ""
        self._ask(paths.NONCE, "")

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.close()

    def read(self, target: str) -> None:
        """A signed request, and its whole answer."""
        header = self._signer.header("GET", target, b"", self._nonce)
        self._ask(target, f"Authorization: {header}\r\n")

    def _ask(self, target: str, header: str) -> None:
        self._line.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        if first.split()[1] not in ("200", "204"):
            raise SystemExit(f"{target}: {first}")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        self._nonce = headers[paths.NONCE_HEADER]
        left = int(headers.get("content-length", "0")) - len(body)
        while left > 0:
            left -= len(self._more())

    def _more(self) -> bytes:
        piece = self._line.recv(1 << 16)
        if not piece:
            raise SystemExit("the registry has closed a connection")
        return piece


def _strangers(one: Served) -> Iterator[tuple[str, float, str]]:
    with ExitStack() as held:
        for number in range(STRANGERS):
            host = number // OF_ONE
            held.enter_context(one.line(f"127.1.{host // 250}.{1 + host % 250}"))
            time.sleep(0.004)
        yield f"registry: memory, {STRANGERS} half-open connections", one.memory(), "MiB"
    time.sleep(40)
    yield "registry: memory, some time after", one.memory(), "MiB"


@contextmanager
def served(scratch: Path) -> Iterator[Served]:
    """A registry of this checkout in the node image, which has what nodes have."""
    fleet, machine = Fleet(), Debian(scratch)
    disk = scratch / "upper"
    certify(disk / file_paths.REGISTRY.lstrip("/"))
    (disk / file_paths.BUNDLE.lstrip("/")).write_bytes(bundle.build())
    seed = disk / file_paths.SEED.lstrip("/")
    seed.parent.mkdir(parents=True)
    seed.write_text(json.dumps({"operator": signing_public(fleet.key), "registry_port": PORT}))
    with spaces("bench", "registry") as (name,):
        namespaces.ip(["link set lo up"], name)
        process = machine.start("python3", file_paths.BUNDLE, "registry", namespace=name)
        try:
            one = Served(name, process.pid, fleet)
            until(one.listens, 10, "the registry listens")
            netns.inside(name, lambda: _filled(fleet))
            yield one
        finally:
            process.kill()
            process.wait()


def _filled(fleet: Fleet) -> None:
    with Client(f"https://127.0.0.1:{PORT}", fleet.operator) as client:
        for path, document in (
            (paths.PLANNED, fleet.planned()),
            (paths.PACKED, fleet.fifth.generation),
        ):
            answer = client.ask("PUT", path, dump(document), signed=True)
            if not answer.ok:
                raise SystemExit(f"{path}: {answer.why()}")
