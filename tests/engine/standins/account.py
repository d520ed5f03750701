"""The one question that goes to Vultr's API itself: ``GET /v2/account/bgp``."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Account:
    """An account, which only this key opens."""

    key: str
    bgp: dict[str, Any]
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def answering(account: Account) -> Iterator[Account]:
    """Serve the account for the length of the block; its ``url`` is the API's."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            account.asked.append(self.path)
            known = self.headers.get("Authorization") == f"Bearer {account.key}"
            body: dict[str, Any] = {"bgp_info": account.bgp}
            if not known:
                body = {"error": "Invalid API token.", "status": 401}
            text = json.dumps(body).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: a test's output is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    account.url = f"http://127.0.0.1:{server.server_address[1]}/v2"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield account
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
