"""The account over HTTP/1.1 and TLS, as a client meets it."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mesh import netns
from tests.kit.vultr_api import routes
from tests.kit.vultr_api.account import Call, Stop, Vultr
from tests.kit.vultr_api.authority import certify
from tests.kit.vultr_api.faults import Answer, Fault, Refused, limited, refused
from tests.kit.vultr_api.objects import Record

BASE = "/v2"


@dataclass(frozen=True)
class Served:
    """Where an account is met: ``authority`` is the certificate that signed the server's."""

    vultr: Vultr
    url: str
    authority: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs to find it and believe it."""
        return {"VULTR_API_ENDPOINT": self.url, "SSL_CERT_FILE": str(self.authority)}


class _Ended(Exception):
    """The connection ends without a further word."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    """Head and body leave together."""
    server: _Server

    def meet(self) -> None:
        """A request of any method."""
        vultr, parts = self.server.vultr, urlsplit(self.path)
        path = parts.path.removeprefix(BASE) if parts.path.startswith(f"{BASE}/") else ""
        body = self._body()
        with vultr.lock:
            vultr.asked += 1
            number = vultr.asked
        self._call: Call | None = Call(number, self.command, path, parts.query, 0, body)
        try:
            self._meet(number, path, dict(parse_qsl(parts.query)), body)
        except _Ended:
            self._reset()
        except OSError:
            self.close_connection = True  # whoever asked has gone
        except Exception:
            vultr.broken.append(traceback.format_exc())
            self._reset()
        finally:
            self._record(0)

    def _record(self, status: int) -> None:
        """Note the call, once; before its answer leaves, so that whoever has that finds it."""
        vultr, call = self.server.vultr, self._call
        if call is not None:
            self._call = None
            with vultr.lock:
                vultr.calls.append(replace(call, status=status))

    def _meet(self, number: int, path: str, query: Mapping[str, str], body: Record) -> None:
        vultr = self.server.vultr
        if vultr.knobs.latency:
            time.sleep(vultr.knobs.latency)
        if vultr.stop is not None:
            self._stopped(number, vultr.stop, path, query, body)
        fault = next(vultr.matching(self.command, path), None)
        if fault is None:
            self._send(self._answer(path, query, body))
        else:
            self._faulty(fault, path, query, body)

    def _stopped(
        self, number: int, stop: Stop, path: str, query: Mapping[str, str], body: Record
    ) -> None:
        """Whoever asked is gone; the request itself may have come through."""
        with self.server.vultr.lock:
            met = stop.meets(number, f"{self.command} {path}")
            if met:
                stop.at = f"{self.command} {path}"
        if met:
            if stop.how == "after":
                self._answer(path, query, body)
            stop.act()
        if stop.at is not None and stop.how != "on":
            raise _Ended

    def _faulty(self, fault: Fault, path: str, query: Mapping[str, str], body: Record) -> None:
        if fault.when == "instead":
            self._send(fault.answer)
            return
        done = self._answer(path, query, body)
        if fault.when == "after":
            self._send(fault.answer)
            return
        if fault.when == "cut":
            self._send(done, cut=True)
        raise _Ended

    def _answer(self, path: str, query: Mapping[str, str], body: Record) -> Answer:
        vultr = self.server.vultr
        source = self.client_address[0]
        if self.headers.get("Authorization") != f"Bearer {vultr.key}":
            return refused("Invalid API token.", 401)
        if vultr.knobs.sources is not None and source not in vultr.knobs.sources:
            return refused(f"Unauthorized IP address: {source}", 403)
        if self.server.is_over_rate():
            return limited()
        try:
            return routes.answer(vultr, self.command, path, query, body)
        except Refused as error:
            return refused(error.said, error.status)

    def _body(self) -> Record:
        length = int(self.headers.get("Content-Length") or 0)
        try:
            found = json.loads(self.rfile.read(length) or b"{}")
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

    def _send(self, answer: Answer, cut: bool = False) -> None:
        content = answer.content
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", **answer.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self._record(answer.status)
        self.wfile.flush()

    def _reset(self) -> None:
        """End the connection as a host does that knows nothing of it: no end of file, a reset."""
        self.close_connection = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing: a test's output is the test's."""


for _method in ("GET", "POST", "PATCH", "PUT", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.meet)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], vultr: Vultr, tls: ssl.SSLContext | None) -> None:
        super().__init__(address, _Handler)
        self.vultr, self._tls = vultr, tls
        self._recent: deque[float] = deque()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread, the handshake too."""
        if self._tls is not None:
            request = self._tls.wrap_socket(request, server_side=True)
        try:
            super().finish_request(request, client_address)
        finally:
            with suppress(OSError):
                request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed here; what is wrong with an answer, they say."""

    def is_over_rate(self) -> bool:
        """Whether this request is one too many within a second."""
        if not self.vultr.knobs.rate:
            return False
        with self.vultr.lock:
            now = self.vultr.clock()
            while self._recent and self._recent[0] <= now - 1:
                self._recent.popleft()
            if len(self._recent) >= self.vultr.knobs.rate:
                return True
            self._recent.append(now)
            return False


@contextmanager
def answering(
    vultr: Vultr,
    folder: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    namespace: str | None = None,
) -> Iterator[Served]:
    """Serve an account for the length of the block; certificates lie in ``folder``. With
    ``namespace`` it listens in that network namespace, and nowhere else."""
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as place:
        authority, pair = certify(Path(place))
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair)

        def listen() -> _Server:
            return _Server((host, port), vultr, tls)

        server = netns.inside(namespace, listen) if namespace else listen()
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Served(vultr, f"https://{host}:{server.server_address[1]}{BASE}", authority)
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
    assert not vultr.broken, vultr.broken[0]
