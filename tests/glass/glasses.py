"""Glasses of several nodes at loopback, each at addresses of 127.0.0.0/8 in place of its tunnel's,
with a BIRD that is a stand-in at the control socket."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from mesh.glass import calls
from mesh.glass.bird import Budget
from mesh.glass.network import Network
from mesh.glass.serve import Glass
from mesh.glass.snapshot import Generation, Snapshot, Versions
from mesh.plan.links import UNDERLAY_ASN_BASE
from mesh.trust.documents import Health
from tests.glass.networks import network_of
from tests.kit.stacks import plan_of, prod
from tests.kit.wait import PATIENCE


def waits(patch: pytest.MonkeyPatch, seconds: float = PATIENCE) -> None:
    """A glass waits for its BIRD, for those who ask it and for other nodes as long as it takes on a
    busy machine."""

    def budget(left: float = seconds) -> Budget:
        return Budget(left)

    patch.setattr("mesh.glass.lookup.Budget", budget)
    patch.setattr("mesh.glass.connections.SECONDS", seconds)
    patch.setattr(calls.call, "__defaults__", (seconds,))


END = "0000 \n"
LAX, ORD, MIA, EWR = "lax-vultr-1", "ord-vultr-1", "mia-vultr-1", "ewr-vultr-1"
TABLES = """\
1010-master4 \trouting table
 master6 \trouting table
 internet4\trouting table
 services4\trouting table
"""
NOTHING = "8001 Network not found\n"
Answers = Callable[[str], str]


def says(routes: Mapping[str, str] | None = None) -> Answers:
    """A BIRD with these replies, by the beginning of the command; nothing is found otherwise."""

    def answer(command: str) -> str:
        for begin, text in {"timeformat": END, "show symbols": TABLES + END,
                            **(routes or {})}.items():  # fmt: skip
            if command.startswith(begin):
                return text
        return NOTHING

    return answer


def network(port: int = 0, public: bool = False) -> Network:
    """The production stack, with a tunnel address of 127.0.0.0/8 for each node."""
    planned = network_of(plan_of(prod()), public=public, port=port)
    nodes = [
        replace(node, tunnel=(place(n),), announced=(announced(n),))
        for node in planned.nodes
        for n in (node.asn - UNDERLAY_ASN_BASE,)
    ]
    return replace(planned, nodes=tuple(nodes))


def place(number: int) -> IPv4Address:
    """Where the node of that number has its tunnel address."""
    return IPv4Address(f"127.0.7.{number}")


def announced(number: int) -> IPv4Address:
    """Where it has its announced address."""
    return IPv4Address(f"127.0.8.{number}")


def snapshot_of(node: str, at: float) -> Snapshot:
    """A snapshot with nothing in it."""
    return Snapshot(
        node=node,
        at=at,
        agent_started=at,
        bird_started=at,
        versions=Versions("2.17.6"),
        generation=Generation(3, 3, "applied"),
        health=Health(in_service=True, services={}, sessions={}),
        sessions=(),
        tunnels=(),
    )


class _Bird(socketserver.ThreadingUnixStreamServer):
    """BIRD's control socket as a stand-in has it, for several connections at a time."""

    daemon_threads = True
    answers: Answers

    def handle_error(self, request: object, client_address: object) -> None:
        """The glass hangs up when it has read enough."""


class _Connection(socketserver.StreamRequestHandler):
    server: _Bird

    def handle(self) -> None:
        self.wfile.write(b"0001 BIRD 2.17.6 ready.\n")
        for command in self.rfile:
            self.wfile.write(self.server.answers(command.decode().strip()).encode())


@contextmanager
def control(path: Path, answers: Answers) -> Iterator[None]:
    """A BIRD that gives these answers."""
    with _Bird(str(path), _Connection) as server:
        server.answers = answers
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield
        server.shutdown()


@dataclass
class Files:
    """The files of one node's glass."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    """What its BIRD was asked."""

    @property
    def snapshot(self) -> Path:
        """The agent's snapshot."""
        return self.folder / "snapshot.json"

    @property
    def control(self) -> Path:
        """BIRD's restricted socket."""
        return self.folder / "bird.ctl"

    def put(self, network: Network, node: str) -> None:
        """What the generation brings."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / "glass.json").write_bytes(TypeAdapter(Network).dump_json(network))
        (self.folder / "agent.json").write_text(json.dumps({"node": node}))

    def write(self, snapshot: Snapshot) -> None:
        """What the agent writes."""
        self.snapshot.write_bytes(TypeAdapter(Snapshot).dump_json(snapshot))

    def glass(self) -> Glass:
        """The glass that reads them, with what answers: limits hold as they are now."""
        made = Glass(
            self.folder / "glass.json", self.folder / "agent.json", self.snapshot, self.control
        )
        made.site()
        return made


@contextmanager
def running(
    folder: Path, network: Network, node: str, answers: Answers | None = None,
    snapshot: Snapshot | None = None,
) -> Iterator[Files]:  # fmt: skip
    """The glass of a node, listening; with a BIRD where there are answers, and a snapshot."""
    files = Files(folder)
    files.put(network, node)
    if snapshot is not None:
        files.write(snapshot)
    with ExitStack() as stack:
        if answers is not None:
            given = answers

            def noted(command: str) -> str:
                files.asked.append(command)
                return given(command)

            stack.enter_context(control(files.control, noted))
        glass = files.glass()
        stack.callback(glass.close)
        assert glass.listen()
        yield files


@dataclass(frozen=True)
class Got:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """Its JSON."""
        found: dict[str, object] = json.loads(self.body)
        return found


def get(
    port: int, target: str, *, at: str = "127.0.0.1", host: str | None = None,
    source: str | None = None, method: str = "GET",
) -> Got:  # fmt: skip
    """Asks a glass as a browser would."""
    named = f"[{at}]:{port}" if ":" in at else f"{at}:{port}"
    head = f"{method} {target} HTTP/1.1\r\nHost: {named if host is None else host}\r\n\r\n"
    return raw(port, head.encode(), at=at, source=source)


def raw(port: int, request: bytes, *, at: str = "127.0.0.1", source: str | None = None) -> Got:
    """Sends bytes, and reads the response to its end."""
    family = socket.AF_INET6 if ip_address(at).version == 6 else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(PATIENCE)
        if source is not None:
            connection.bind((source, 0))
        connection.connect((at, port))
        connection.sendall(request)
        received = bytearray()
        while piece := connection.recv(65536):
            received += piece
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Got(int(first.split()[1]), headers, body)
