"""An HTTP proxy that returns the same list for every URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@contextmanager
def answering(content: bytes) -> Iterator[None]:
    """Whoever asks for any http:// address meanwhile gets ``content``."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None: ...

    with (
        ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        patch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        patch.setenv("NO_PROXY", "")
        patch.setenv("no_proxy", "")
        try:
            yield
        finally:
            server.shutdown()
