"""What stands at the other end of ``mesh glass``: a server that answers as a glass does, and an
SSH server that lets one key forward to it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import asyncssh
from pydantic_core import to_json

from mesh.glass.answers import Answer
from mesh.netns import inside
from tests.kit.wait import PATIENCE

AT = 1_800_000_000.0
"""The time of all answers."""


@dataclass
class Glass:
    """Answers each path, without its parameters, with a status and a body; ``asked`` is what came.
    Paths that it does not have are not found."""

    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def says(self, path: str, answer: Answer[Any] | bytes, status: int = 200) -> None:
        """From now on, that path has that answer."""
        body = answer if isinstance(answer, bytes) else to_json(answer)
        self.answers[f"/api/v1/{path}"] = (status, body)

    @contextmanager
    def serving(self, namespace: str | None = None) -> Iterator[Glass]:
        """At the loopback address of IPv6, as a node's, in that network namespace."""
        with inside(namespace, lambda: _Server(("::1", 0), _handler(self))) as server:
            self.port, self._server = server.server_address[1], server
            thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()

    def away(self) -> None:
        """Nobody listens there any more."""
        assert self._server is not None
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True


def _handler(glass: Glass) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            glass.asked.append(self.path)
            glass.hosts.append(self.headers["Host"])
            status, body = glass.answers.get(self.path.partition("?")[0], (404, b"<h1>no</h1>"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: pytest shows what matters."""

    return Handler


@dataclass(frozen=True)
class Login:
    """An SSH server on this machine, and what ssh needs to log in there."""

    port: int
    line: str
    """As the stack's output has it."""
    connections: Callable[[], int]
    """How many there are now."""


@contextmanager
def ssh_server(folder: Path, *forwards_to: int) -> Iterator[Login]:
    """An SSH server that lets one key in, and forwards to these ports of ``::1`` and nowhere
    else."""
    host = asyncssh.generate_private_key("ssh-ed25519")
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(folder / "key")
    (folder / "key").chmod(0o600)
    key.write_public_key(folder / "authorized")

    there = set[asyncssh.SSHServer]()

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            there.add(self)

        def connection_lost(self, exc: Exception | None) -> None:
            there.discard(self)

        def connection_requested(
            self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
        ) -> bool:
            return dest_host == "::1" and dest_port in forwards_to

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", 0, server_factory=Server, server_host_keys=[host],
            authorized_client_keys=str(folder / "authorized"),
        )  # fmt: skip

    listening = asyncio.run_coroutine_threadsafe(listen(), loop).result(PATIENCE)
    port = listening.get_port()
    known = host.export_public_key("openssh").decode().strip()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {known}\n")
    options = f"-p {port} -i {folder / 'key'} -o UserKnownHostsFile={folder / 'known'} -F none"
    try:
        yield Login(port, f"ssh {options} root@127.0.0.1", lambda: len(there))
    finally:
        loop.call_soon_threadsafe(listening.close)
        asyncio.run_coroutine_threadsafe(listening.wait_closed(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)


def stack_state(
    fleet: str, port: int | None, access: Mapping[str, str], namespace: str | None = None
) -> dict[str, Any]:
    """A stack's state whose network has a glass at that port, and where ssh gets to each node."""
    glass = None if port is None else {"port": port, "public": False}
    publish: dict[str, Any] = {
        "operator_key": "", "registries": {}, "namespace": namespace, "fleet": fleet,
        "plan": to_json({"glass": glass, "asn": 27218}).decode(),
    }  # fmt: skip
    outputs = {"access": {node: {"ssh": line} for node, line in access.items()}}
    return {
        "deployment": {
            "resources": [
                {"type": "pulumi:pulumi:Stack", "outputs": outputs},
                {"type": "pulumi-python:dynamic/mesh:Publish", "outputs": publish},
            ]
        }
    }
