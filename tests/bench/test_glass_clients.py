"""What the clients of the looking glass's bench report."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.glass_clients import NONE, Client, asked

ONE = Client("look-up", "127.0.0.9", 100, ("/good", "/bad"))


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/good" else 429)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _server() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_an_answer_has_its_status_and_its_size() -> None:
    with _server() as port:
        good, bad = (asked(ONE, port, path) for path in ONE.paths)
    assert (good.status, bad.status) == (200, 429)
    assert good.size == len(ONE.source), "the client comes from its own address"


def test_a_question_that_nobody_answers_has_no_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    assert asked(ONE, port, "/good").status == NONE


def test_each_client_asks_for_its_paths_in_turn() -> None:
    with _server() as port:
        clients = [{"kind": ONE.kind, "source": ONE.source, "rate": 100, "paths": ONE.paths}]
        order = json.dumps({"port": port, "seconds": 0.5, "clients": clients})
        done = subprocess.run(
            [sys.executable, "-m", "bench.glass_clients"],
            input=order, capture_output=True, text=True, check=True,
        )  # fmt: skip
    statuses = [answer["status"] for answer in json.loads(done.stdout)]
    assert statuses
    assert statuses[::2] == [200] * len(statuses[::2])
    assert statuses[1::2] == [429] * len(statuses[1::2])
